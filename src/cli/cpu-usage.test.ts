import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerStats } from '../gen/runtime/v1/api.ts';
import { usageOf } from './cpu-usage.ts';

function stats(seconds: number, usedSeconds: number, nanoCores?: bigint): ContainerStats {
  const timestamp = BigInt(seconds * 1e9);
  return {
    attributes: { id: 'a', metadata: { name: 'web', attempt: 0 }, labels: {}, annotations: {} },
    cpu: {
      timestamp,
      usageCoreNanoSeconds: { value: BigInt(usedSeconds * 1e9) },
      usageNanoCores: nanoCores === undefined ? undefined : { value: nanoCores },
      psi: undefined,
    },
    memory: {
      timestamp,
      workingSetBytes: { value: 25n },
      availableBytes: { value: 75n },
      usageBytes: undefined,
      rssBytes: undefined,
      pageFaults: undefined,
      majorPageFaults: undefined,
      psi: undefined,
    },
    writableLayer: undefined,
    swap: undefined,
    io: undefined,
  };
}

test('the rate is measured between two readings', () => {
  const [usage] = usageOf([stats(12, 4)], [stats(10, 3)]);
  assert.deepEqual(usage, {
    id: 'a',
    name: 'web',
    cpuPercent: 50,
    memoryBytes: 25,
    memoryPercent: 25,
    writtenBytes: undefined,
  });
});

test('without a pair of readings the daemon’s rate is taken, if it has one', () => {
  assert.equal(usageOf([stats(12, 4)], [])[0]?.cpuPercent, undefined);
  assert.equal(usageOf([stats(12, 4, 250_000_000n)], [])[0]?.cpuPercent, 25);
  // Started anew meanwhile: the counter has gone back.
  assert.equal(usageOf([stats(12, 1)], [stats(10, 3)])[0]?.cpuPercent, undefined);
});
