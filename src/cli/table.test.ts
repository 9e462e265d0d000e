import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTable } from './table.ts';

test('columns are aligned, and no line ends in blanks', () => {
  const text = formatTable(
    ['ID', 'NAME', 'IP'],
    [
      ['1', 'a-long-name', ''],
      ['22', 'b', '10.0.0.1'],
    ],
  );
  assert.equal(text, 'ID  NAME         IP\n1   a-long-name\n22  b            10.0.0.1\n');
});

test('control characters of a name do not reach the terminal', () => {
  assert.equal(formatTable(['NAME'], [['a\u001b[2Jb\nc']]), 'NAME\na?[2Jb?c\n');
});
