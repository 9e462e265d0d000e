import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { Tokens } from './tokens.ts';

test('a token is good once', () => {
  using tokens = new Tokens<string>(60_000);
  const token = tokens.issue('exec');
  assert.equal(tokens.redeem('another'), undefined);
  assert.equal(tokens.redeem(token), 'exec');
  assert.equal(tokens.redeem(token), undefined);
});

test('streaming tokens: one expires', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  using tokens = new Tokens<string>(60_000);
  const token = tokens.issue('exec');
  t.mock.timers.tick(60_000);
  assert.equal(tokens.redeem(token), undefined);
});

test('streaming tokens: those that nobody uses are bounded in number', () => {
  using tokens = new Tokens<number>(60_000);
  for (let index = 0; index < 1000; index += 1) tokens.issue(index);
  assert.throws(
    () => tokens.issue(1000),
    (error) => isKind(error, 'resource-exhausted'),
  );
});

test('tokens cannot be guessed from each other', () => {
  using tokens = new Tokens<number>(60_000);
  const issued = Array.from({ length: 100 }, (_, index) => tokens.issue(index));
  assert.equal(new Set(issued).size, 100);
  assert.ok(issued.every((token) => /^[\w-]{32}$/.test(token)));
});
