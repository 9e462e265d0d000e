import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWindowSize } from './channels.ts';

test('a window size is read, and nothing else is', () => {
  assert.deepEqual(parseWindowSize('{"Width":80,"Height":24}\n'), { columns: 80, rows: 24 });
  for (const text of [
    '',
    '80',
    'null',
    '[]',
    '{"Width":80}',
    '{"Width":-1,"Height":24}',
    '{"Width":80,"Height":70000}',
  ])
    assert.equal(parseWindowSize(text), undefined, text);
});

test('text too long for a size is not even read', () => {
  assert.equal(parseWindowSize(`{"Width":80,"Height":24,"x":[${'{},'.repeat(1000)}{}]}`), undefined);
});
