import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPatientTimer } from './patient-timer.ts';

function holdUp(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** What the event loop tells of a little later than of timers that are over. */
async function notice(): Promise<'noticed'> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  return 'noticed';
}

test('what happened while the process was held up is noticed before the time is over', async () => {
  const over = Promise.withResolvers<'over'>();
  using _ = startPatientTimer(20, () => over.resolve('over'));
  holdUp(300);
  assert.equal(await Promise.race([notice(), over.promise]), 'noticed');
});

test('what never happens is given up all the same', async () => {
  const over = Promise.withResolvers<'over'>();
  using _ = startPatientTimer(20, () => over.resolve('over'));
  holdUp(300);
  assert.equal(await over.promise, 'over');
});

test('a timer that was disposed of calls nobody, held up or not', async () => {
  let calls = 0;
  const timers = [startPatientTimer(1, () => (calls += 1)), startPatientTimer(1, () => (calls += 1))];
  timers[0]?.[Symbol.dispose]();
  holdUp(300);
  await sleep(0);
  timers[1]?.[Symbol.dispose]();
  await sleep(1500);
  assert.equal(calls, 0);
});
