import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError, messageOf } from '../lib/errors.ts';
import { newContainerId } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import type { LinuxResources } from '../sandbox/pod-config.ts';
import type { ContainerDeps } from './deps.ts';
import { updateContainer } from './update.ts';

const request: LinuxResources = { cpuShares: 2, cpuQuotaUs: 50_000, hugepageLimits: [] };

/** Updates a running container; `steps` fail where they are given an error. */
async function update(
  steps: { readonly apply?: Error; readonly record?: Error; readonly undo?: Error },
  asked: LinuxResources = request,
) {
  const done: string[] = [];
  const step = (name: keyof typeof steps): void => {
    done.push(name);
    if (steps[name] !== undefined) throw steps[name];
  };
  const resources: LinuxResources = { cpuShares: 512, hugepageLimits: [] };
  const container = { id: newContainerId(), state: { name: 'running' }, resources };
  const deps = {
    store: { locks: new KeyedLock(), mustFind: () => container, update: () => step('record') },
    plugins: { updating: async (_: unknown, wanted: LinuxResources) => wanted, updated: () => undefined },
    runtime: {
      async update(_: unknown, wanted: LinuxResources) {
        assert.deepEqual(wanted, request);
        step('apply');
        return async () => step('undo');
      },
    },
  };
  const { signal } = new AbortController();
  try {
    await updateContainer(deps as unknown as ContainerDeps, container.id, asked, signal);
  } catch (error) {
    return { done, message: messageOf(EngineError.from(error)) };
  }
  return { done, message: undefined };
}

test('new limits are applied, then recorded', async () => {
  assert.deepEqual(await update({}), { done: ['apply', 'record'], message: undefined });
});

test('of a refused update nothing is recorded', async () => {
  const message = 'memory in use';
  assert.deepEqual(await update({ apply: new Error(message) }), { done: ['apply'], message });
});

test('limits that cannot be recorded are not in force', async () => {
  const record = new Error('the disk is full');
  const done = ['apply', 'record', 'undo'];
  assert.deepEqual(await update({ record }), { done, message: 'the disk is full' });
  const message = 'the disk is full; and undoing it failed: it has ended';
  assert.deepEqual(await update({ record, undo: new Error('it has ended') }), { done, message });
});

test('the oom_score_adj of a process that runs stays: another one is not recorded, none is refused', async () => {
  const done = ['apply', 'record'];
  assert.deepEqual(await update({}, { ...request, oomScoreAdj: 500 }), { done, message: undefined });
  const message = 'oom_score_adj: 5000 is not between -1000 and 1000';
  assert.deepEqual(await update({}, { ...request, oomScoreAdj: 5000 }), { done: [], message });
});
