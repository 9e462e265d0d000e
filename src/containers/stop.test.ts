import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { newContainerId, newSandboxId } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import type { Container, ContainerState } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { stopAllContainers, stopContainer } from './stop.ts';

const { signal } = new AbortController();
const sandboxId = newSandboxId();
const processes = { process: { pid: 1, startTicks: '1' }, monitor: { pid: 2, startTicks: '2' } };
const running: ContainerState = { name: 'running', processes, startedAtNs: '1' };

/** A pod of containers in these states, by their names; a kill is noted, and ends nothing. */
function pod(t: TestContext, states: Readonly<Record<string, ContainerState>>) {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-stop-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const made = Object.entries(states).map(([name, state]) => {
    const config = { metadata: { name, attempt: 0 } };
    return { id: newContainerId(), sandboxId, config, state } as unknown as Container;
  });
  const containers = new Map(made.map((container) => [container.id, container]));
  const store = {
    locks: new KeyedLock(),
    events: { emit: () => undefined },
    all: () => [...containers.values()],
    get: (id: Container['id']) => containers.get(id),
    update(id: Container['id'], change: (old: Container) => Container) {
      const changed = change(containers.get(id) ?? assert.fail());
      containers.set(id, changed);
      return changed;
    },
  };
  const killed: string[] = [];
  const nothing = async (): Promise<void> => undefined;
  const deps = {
    store,
    stateDirectory: directory,
    checkpoints: { directory },
    runtime: {
      delete: nothing,
      kill: async ({ config }: Container) => void killed.push(config.metadata.name),
    },
    cgroups: { destroy: nothing },
    images: { unmountSnapshot: nothing },
    mounts: { release: nothing },
    exits: { whenEnded: async () => await new Promise(() => undefined) },
  };
  const ids = Object.fromEntries(made.map(({ id, config }) => [config.metadata.name, id]));
  return { deps: deps as unknown as ContainerDeps, store, killed, ids };
}

/** Lets everything happen that waits for no timer. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test('a container that waits to be restored ends before a start that came later', async (t) => {
  const { deps, store, ids } = pod(t, { saved: { name: 'created' } });
  const id = ids['saved'] ?? assert.fail();
  const busy = await store.locks.acquire(id);
  const stopped = stopContainer(deps, id, 0, signal);
  const started = store.locks.run(id, signal, async () => {
    if (store.get(id)?.state.name === 'created') store.update(id, (old) => ({ ...old, state: running }));
  });
  busy[Symbol.dispose]();
  await Promise.all([stopped, started]);
  assert.equal(store.get(id)?.state.name, 'exited');
});

test('one of which something could not be undone ends without a process', async (t) => {
  const { deps, store, killed, ids } = pod(t, { lost: { name: 'unknown', reason: 'the mount is busy' } });
  const id = ids['lost'] ?? assert.fail();
  await stopContainer(deps, id, 0, signal);
  const state = store.get(id)?.state;
  assert.ok(state?.name === 'exited');
  assert.deepEqual(
    [state.reason, state.message, killed],
    ['ContainerStatusUnknown', 'the mount is busy', []],
  );
});

test('containers that do not end are named, all of them, with what was waited for', async (t) => {
  const { deps, store, killed, ids } = pod(t, {
    busy: running,
    hung: running,
    gone: { name: 'exited', finishedAtNs: '1', exitCode: 0, reason: 'Completed', message: '' },
  });
  const { busy, hung } = ids;
  assert.ok(busy !== undefined && hung !== undefined);
  using _ = await store.locks.acquire(busy);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const stopped = stopAllContainers(deps, sandboxId);
  for (const ms of [30_000, 30_000]) {
    await turn();
    t.mock.timers.tick(ms);
  }
  await assert.rejects(stopped, {
    kind: 'deadline-exceeded',
    message:
      `stop the containers of pod sandbox ${sandboxId}: ` +
      `"busy": stop container ${busy}: wait for the container: The operation took longer than 60000 ms; ` +
      `"hung": stop container ${hung}: its process did not end 30 s after SIGKILL`,
  });
  assert.deepEqual(killed, ['hung']);
});
