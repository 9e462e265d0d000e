import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { temporaryDatabase } from '../lib/testing/temporary-database.ts';
import { processStartTicks } from '../linux/pidfd.ts';
import type { StoredProcess } from '../oci/monitor.ts';
import type { SandboxDeps } from './deps.ts';
import type { PodConfig } from './pod-config.ts';
import { runSandbox } from './run.ts';
import { openSandboxStore } from './sandbox.ts';

const config: PodConfig = {
  metadata: { name: 'p', uid: 'u', namespace: 'default', attempt: 0 },
  portMappings: [],
  labels: {},
  annotations: {},
  sysctls: {},
  namespaces: { network: { mode: 'node' }, pid: { mode: 'pod' }, ipc: { mode: 'node' } },
  security: {
    readonlyRootfs: false,
    supplementalGroups: [],
    supplementalGroupsPolicy: 'merge',
    privileged: false,
  },
};

/** A pod on the node's own network and IPC, whose PID namespace this process holds. */
function depsWith(t: TestContext, holder: StoredProcess): SandboxDeps {
  const { directory, database } = temporaryDatabase(t);
  const nothing = async (): Promise<void> => {};
  return {
    store: openSandboxStore(database, (error) => assert.fail(String(error))),
    stateDirectory: directory,
    bootId: 'boot',
    namespaces: { pin: nothing, release: () => undefined },
    networks: { attach: async () => await Promise.reject(new Error('no network')), detach: nothing },
    cgroups: {
      forPod: () => ({ parent: '/pod', isOwn: false }),
      expectContainers: () => undefined,
      makeOwn: () => undefined,
      removeOwn: nothing,
    },
    holder: { start: async () => ({ process: holder, monitor: holder }), watch: () => {}, stop: nothing },
    plugins: {
      running: nothing,
      abandoned: () => undefined,
      stopping: nothing,
      updating: nothing,
      updated: () => undefined,
    },
    runtimes: { handlerFor: () => 'fake', mustMapUsers: async () => undefined },
    containers: { stopAll: nothing, removeAll: nothing },
  };
}

const alive = { pid: process.pid, startTicks: String(processStartTicks(process.pid)) };
const request = { config, runtimeHandler: '' };
const { signal } = new AbortController();

test('a pod whose PID namespace has its holder is ready', async (t) => {
  const { state } = await runSandbox(depsWith(t, alive), request, signal);
  assert.equal(state.name, 'ready');
});

test('a holder that has ended before its pod is recorded as ready: no such pod is made, nothing of it is left', async (t) => {
  const deps = depsWith(t, { ...alive, startTicks: '1' });
  await assert.rejects(
    runSandbox(deps, request, signal),
    (error) => isKind(error, 'failed-precondition') && /PID namespace .* has ended/.test(String(error)),
  );
  assert.deepEqual(deps.store.all(), []);
});
