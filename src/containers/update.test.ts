import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newContainerId } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import type { LinuxResources } from '../sandbox/pod-config.ts';
import type { ContainerDeps } from './deps.ts';
import { updateContainer } from './update.ts';

test('what was applied of a refused update is taken back, also where there was no limit before', async () => {
  const resources: LinuxResources = { cpuShares: 512, hugepageLimits: [] };
  const container = { id: newContainerId(), state: { name: 'running' }, resources };
  const asked: LinuxResources[] = [];
  const deps = {
    store: {
      locks: new KeyedLock(),
      mustFind: () => container,
      update: () => assert.fail('nothing has changed'),
    },
    plugins: { updating: async (_: unknown, wanted: LinuxResources) => wanted, updated: () => undefined },
    runtime: {
      update: async (_: unknown, wanted: LinuxResources) => {
        asked.push(wanted);
        if (asked.length === 1) throw new Error('memory in use');
      },
    },
  };
  const request = { cpuShares: 2, cpuQuotaUs: 50_000, memoryLimitBytes: 4096, hugepageLimits: [] };
  const { signal } = new AbortController();
  await assert.rejects(
    updateContainer(deps as unknown as ContainerDeps, container.id, request, signal),
    /memory in use/,
  );
  assert.deepEqual(asked[0], { ...request, memorySwapLimitBytes: undefined });
  assert.deepEqual(asked.slice(1), [
    { cpuShares: 512, cpuQuotaUs: -1, memoryLimitBytes: -1, hugepageLimits: [] },
  ]);
});
