import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatJson, formatJsonLine, parseInfo } from './json.ts';

test('numbers of 64 bits stay exact', () => {
  const value = { small: 5n, big: 1_795_255_758_335_000_000n, bytes: Buffer.from('text') };
  assert.deepEqual(JSON.parse(formatJson(value)), { small: 5, big: '1795255758335000000', bytes: 'text' });
  assert.equal(formatJsonLine([1n]), '[1]\n');
});

test('info becomes part of the document, what is no JSON stays text', () => {
  assert.deepEqual(parseInfo({ info: '{"pid":1}', other: 'plain' }), { info: { pid: 1 }, other: 'plain' });
});
