import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { allEnded } from './all-ended.ts';

test('gives all values in their order', async () => {
  assert.deepEqual(await allEnded([Promise.resolve(1), 'two', Promise.resolve()]), [1, 'two', undefined]);
});

test('throws the first error when the rest has ended', async () => {
  const ended: string[] = [];
  const slow = async (): Promise<void> => {
    await setImmediate();
    ended.push('slow');
    throw new Error('later');
  };
  await assert.rejects(allEnded([slow(), Promise.reject(new Error('first'))]), /first/);
  assert.deepEqual(ended, ['slow']);
});
