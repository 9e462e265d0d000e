import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseChallenges } from './challenge.ts';

function read(header: string): readonly (readonly [string, Readonly<Record<string, string>>])[] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

test('reads one and several challenges, quoted and bare', () => {
  assert.deepEqual(read('Bearer realm="https://a/t",service="s",scope="repository:a/b:pull"'), [
    ['bearer', { realm: 'https://a/t', service: 's', scope: 'repository:a/b:pull' }],
  ]);
  assert.deepEqual(read('Basic realm=x, Bearer Realm="a\\"b" , service = s'), [
    ['basic', { realm: 'x' }],
    ['bearer', { realm: 'a"b', service: 's' }],
  ]);
  assert.deepEqual(read('Negotiate, Basic realm="a, b"'), [
    ['negotiate', {}],
    ['basic', { realm: 'a, b' }],
  ]);
  assert.deepEqual(read('Bearer scope="a:b:pull",scope="c:d:push"'), [['bearer', { scope: 'a:b:pull' }]]);
});

test('stops at what it cannot read', () => {
  assert.deepEqual(read(''), []);
  assert.deepEqual(read('realm="x"'), []);
  assert.deepEqual(read('Bearer realm="unclosed'), [['bearer', {}]]);
  assert.deepEqual(read('"x" Bearer'), []);
});

test('hostile headers are read in bounded time and size', () => {
  for (const header of [
    'Bearer '.repeat(10_000),
    `Bearer ${'a=b,'.repeat(100_000)}`,
    `Bearer realm="${'\\'.repeat(100_000)}`,
    `Bearer ${'a'.repeat(100_000)}`,
    ', '.repeat(100_000),
  ]) {
    const challenges = parseChallenges(header);
    assert.ok(challenges.length <= 16);
    for (const challenge of challenges) assert.ok(challenge.parameters.size <= 32);
  }
});
