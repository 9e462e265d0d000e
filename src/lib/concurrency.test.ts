import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { KeyedLock } from './keyed-lock.ts';
import { Semaphore } from './semaphore.ts';
import { SingleFlight } from './single-flight.ts';

test('a keyed lock orders holders of one key and lets other keys pass', async () => {
  const lock = new KeyedLock<string>();
  const order: string[] = [];
  const first = await lock.acquire('a');
  const second = lock.run('a', undefined, async () => void order.push('second'));
  await lock.run('b', undefined, async () => void order.push('other key'));
  order.push('first');
  first[Symbol.dispose]();
  await second;
  assert.deepEqual(order, ['other key', 'first', 'second']);
});

test('who gives up waiting for a lock does not keep those behind it', async () => {
  const lock = new KeyedLock<string>();
  const holder = await lock.acquire('a');
  const impatient = new AbortController();
  const waiting = lock.acquire('a', impatient.signal);
  const behind = lock.acquire('a');
  impatient.abort(new Error('gone'));
  await assert.rejects(waiting, /gone/);
  let entered = false;
  void behind.then(() => (entered = true));
  await turn();
  assert.equal(entered, false, 'the holder still has it');
  holder[Symbol.dispose]();
  (await behind)[Symbol.dispose]();
});

test('a semaphore admits as many as it has permits and loses none to those who leave', async () => {
  const semaphore = new Semaphore(2);
  const one = await semaphore.acquire();
  const two = await semaphore.acquire();
  const leaver = new AbortController();
  const leaving = semaphore.acquire(leaver.signal);
  const third = semaphore.acquire();
  leaver.abort(new Error('left'));
  await assert.rejects(leaving, /left/);
  one[Symbol.dispose]();
  one[Symbol.dispose]();
  const held = await third;
  two[Symbol.dispose]();
  held[Symbol.dispose]();
  const all = await Promise.all([semaphore.acquire(), semaphore.acquire()]);
  let surplus = false;
  void semaphore.acquire().then(() => (surplus = true));
  await turn();
  assert.equal(surplus, false, 'disposing twice must not make a permit');
  all[0][Symbol.dispose]();
});

test('passengers share one flight; it is aborted when the last has left, not before', async () => {
  const flights = new SingleFlight<string, number>();
  const landing = Promise.withResolvers<number>();
  let starts = 0;
  let aborted = false;
  const work = async (signal: AbortSignal): Promise<number> => {
    starts += 1;
    signal.addEventListener('abort', () => (aborted = true));
    return await landing.promise;
  };
  const leaver = new AbortController();
  const first = flights.do('image', leaver.signal, work);
  const second = flights.do('image', new AbortController().signal, work);
  leaver.abort(new Error('bye'));
  await assert.rejects(first, /bye/);
  assert.equal(aborted, false);
  landing.resolve(7);
  assert.equal(await second, 7);
  assert.equal(starts, 1);
  await assert.rejects(
    flights.do('image', new AbortController().signal, async () => Promise.reject(new Error('next flight'))),
    /next flight/,
  );
});
