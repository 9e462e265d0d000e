import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxJsonDepth, maxJsonMarks, parseUntrustedJson } from './untrusted-json.ts';

const parse = (text: string): unknown => parseUntrustedJson(Buffer.from(text));
const refusal = (message: RegExp) => ({ name: 'EngineError', kind: 'data-loss', message });

test('JSON is read as it always was', () => {
  const value = { a: [1, -2.5e3, true, false, null, {}, [], ''], 'ä"\\': 'ü😀\n\\"{[,' };
  assert.deepEqual(parse(JSON.stringify(value)), value);
  assert.deepEqual(parse(` ${JSON.stringify(value, undefined, 2)}\n`), value);
  for (const scalar of [0, 'text', null]) assert.equal(parse(JSON.stringify(scalar)), scalar);
});

test('what is not JSON is called so', () => {
  for (const text of ['', '<html>', '{"a":', '"', '"\\', '{} {}', ']]]]'])
    assert.throws(() => parse(text), refusal(/^not JSON: ./), text);
});

test('more values than any document has are refused with their number, in whatever they lie', () => {
  const many = (item: string, count: number): string => Array.from({ length: count }, () => item).join(',');
  assert.equal((parse(`[${many('1', maxJsonMarks)}]`) as unknown[]).length, maxJsonMarks);
  const tooMany = refusal(
    new RegExp(`^of ${maxJsonMarks + 1} brackets and commas, more than ${maxJsonMarks}$`),
  );
  assert.throws(() => parse(`[${many('1', maxJsonMarks + 1)}]`), tooMany);
  assert.throws(() => parse(`{${many('"a" : 1', maxJsonMarks + 1)}}`), tooMany);
  assert.throws(() => parse(`[${many('[]', maxJsonMarks / 2)},0]`), tooMany);
  assert.throws(() => parse(`{"x":["\\\\",${many('{}', maxJsonMarks)}]}`), refusal(/commas, more than/));
});

test('text may hold as many brackets and commas as it likes', () => {
  const text = '{[,\\"'.repeat(maxJsonMarks);
  assert.equal(parse(JSON.stringify(text)), text);
});

test('a nesting deeper than any document has is refused, closed or not', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  assert.doesNotThrow(() => parse(nested(maxJsonDepth)));
  const tooDeep = refusal(new RegExp(`^nested deeper than ${maxJsonDepth} levels$`));
  assert.throws(() => parse(nested(maxJsonDepth + 1)), tooDeep);
  assert.throws(() => parse('['.repeat(1_000_000)), tooDeep);
  assert.throws(() => parse('{"a":'.repeat(1_000_000)), tooDeep);
});
