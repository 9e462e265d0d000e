import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { Deadline } from './deadline.ts';

test('a deadline aborts when its time has come, and says so', async () => {
  using deadline = new Deadline(1);
  while (!deadline.signal.aborted) await sleep(5);
  assert.throws(() => deadline.signal.throwIfAborted(), { name: 'TimeoutError', message: /1 ms/ });
});

test('one that was disposed of never aborts', async () => {
  const deadline = new Deadline(5);
  deadline[Symbol.dispose]();
  await sleep(50);
  assert.equal(deadline.signal.aborted, false);
});
