import assert from 'node:assert/strict';
import { PerformanceObserver, constants } from 'node:perf_hooks';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { keepHeapSmall, letHeapGrow } from './small-heap.ts';

keepHeapSmall();

/** What Node's types leave out of an entry about a collection. */
interface GarbageEntry {
  readonly detail?: { readonly kind?: number };
}

/** How often the whole heap is collected while half of what lives in it is replaced again and again. */
async function collectionsOf(rounds: number): Promise<number> {
  let count = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as readonly GarbageEntry[])
      if (entry.detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR) count += 1;
  });
  observer.observe({ entryTypes: ['gc'] });
  const living = Array.from({ length: 200_000 }, (_, at) => ({ at }));
  for (let round = 0; round < rounds; round += 1) {
    for (let at = round % 2; at < living.length; at += 2) living[at] = { at: round };
    await nextTurn();
  }
  await nextTurn();
  observer.disconnect();
  return count;
}

test('garbage lies while somebody lets the heap grow, until the last one has enough', async () => {
  const small = await collectionsOf(60);
  const outer = letHeapGrow();
  const inner = letHeapGrow();
  await collectionsOf(15);
  const grown = await collectionsOf(60);
  inner[Symbol.dispose]();
  inner[Symbol.dispose]();
  const stillGrown = await collectionsOf(60);
  outer[Symbol.dispose]();
  await collectionsOf(15);
  const smallAgain = await collectionsOf(60);
  const counts = { small, grown, stillGrown, smallAgain };
  assert.ok(small > grown && smallAgain > stillGrown, JSON.stringify(counts));
  assert.ok(small + smallAgain > 2 * (grown + stillGrown), JSON.stringify(counts));
});
