import assert from 'node:assert/strict';
import { after, test, type TestContext } from 'node:test';
import { spawnProcess } from '../linux/command.ts';
import { Poller } from '../linux/poll.ts';
import type { StoredProcess } from './monitor.ts';
import { startCreated } from './start.ts';
import { shellRuntime } from './testing/shell-runtime.ts';

const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

/** A process that lives until it is killed. */
function sleeper(t: TestContext): { process: StoredProcess; kill: () => Promise<unknown> } {
  const child = spawnProcess(['sleep', '1000'], { fds: new Map(), env: {}, newSession: true, poller });
  const kill = async (): Promise<unknown> => {
    child.kill('SIGKILL');
    return await child.exited;
  };
  t.after(kill);
  return { process: { pid: child.pid, startTicks: String(child.startTicks) }, kill };
}

test('a runtime that waits for a process which was killed is not waited for', async (t) => {
  const deps = shellRuntime(t, poller, 'exec sleep 1000');
  const { process, kill } = sleeper(t);
  const started = startCreated(deps, { id: 'c', process, graceMs: 1 });
  const refused = assert.rejects(started, /start container c: its process ended before it could be started/);
  await kill();
  await refused;
  await assert.rejects(startCreated(deps, { id: 'c', process, graceMs: 1 }), /ended before/);
});

test('a start that succeeds leaves nothing to wait for, and a failure keeps its message', async (t) => {
  const deps = shellRuntime(t, poller, 'exit 0');
  const { process } = sleeper(t);
  await startCreated(deps, { id: 'c', process });
  const failing = shellRuntime(t, poller, 'echo "exec: no such program" >&2; exit 1');
  await assert.rejects(startCreated(failing, { id: 'c', process }), /no such program/);
});

test('a program that ends at once was started', async (t) => {
  const deps = shellRuntime(t, poller, 'exit 0');
  const { process, kill } = sleeper(t);
  await kill();
  await startCreated(deps, { id: 'c', process });
});
