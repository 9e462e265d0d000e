import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HangRecord } from './hang-record.ts';

test('one that hangs again and again stays away for longer and longer, others are not concerned', () => {
  let now = 0;
  const record = new HangRecord(() => now);
  const waits: number[] = [];
  for (let count = 0; count < 9; count += 1) {
    record.note('00-a');
    waits.push(record.waitMs('00-a') / 1000);
    now += 1000;
  }
  assert.deepEqual(waits, [0, 0, 10, 20, 40, 80, 160, 300, 300]);
  assert.equal(record.waitMs('01-b'), 0);
  now += 299_000;
  assert.equal(record.waitMs('00-a'), 0);
});

test('what was long ago is forgotten', () => {
  let now = 0;
  const record = new HangRecord(() => now);
  for (let count = 0; count < 5; count += 1) record.note('00-a');
  now += 11 * 60_000;
  record.note('00-b');
  record.note('00-a');
  assert.equal(record.waitMs('00-a'), 0);
});
