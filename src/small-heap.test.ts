import './small-heap.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getHeapSpaceStatistics } from 'node:v8';

test('the space for new objects does not grow, however many of them survive', () => {
  const kept: object[][] = [];
  for (let round = 0; round < 200; round += 1) kept.push(Array.from({ length: 5000 }, (_, at) => ({ at })));
  assert.equal(kept.length, 200);
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
  // 64 MB otherwise. Pages that a collection has just emptied may still be counted.
  assert.ok((space?.space_size ?? Infinity) <= 8 * 1024 * 1024, `${space?.space_size} bytes`);
});
