import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Poller } from '../linux/poll.ts';
import { callRuntime } from './runtime-call.ts';
import { shellRuntime } from './testing/shell-runtime.ts';

const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

const call = { what: 'save container c', args: ['save'] };
/** Longer than any test waits. */
const forLongMs = 600_000;

test('an aborted call kills the runtime', async (t) => {
  const deps = shellRuntime(t, poller, 'exec sleep 1000');
  const signal = AbortSignal.timeout(50);
  await assert.rejects(callRuntime(deps, { ...call, signal }), { name: 'TimeoutError' });
});

test('with a time of grace, what was begun is ended first, and the call fails all the same', async (t) => {
  const script = 'touch begun; while [ ! -e go ]; do sleep 0.01; done; touch ended';
  const deps = shellRuntime(t, poller, script);
  const directory = deps.runtime.root;
  const abort = new AbortController();
  const done = callRuntime(deps, { ...call, signal: abort.signal, graceMs: forLongMs });
  const refused = assert.rejects(done, /the client has gone/);
  await there(join(directory, 'begun'));
  abort.abort(new Error('the client has gone'));
  await sleep(50);
  assert.ok(!existsSync(join(directory, 'ended')));
  writeFileSync(join(directory, 'go'), '');
  await refused;
  assert.ok(existsSync(join(directory, 'ended')));
});

test('so it is when its own time is over', async (t) => {
  const deps = shellRuntime(t, poller, 'sleep 0.2; touch ended');
  const directory = deps.runtime.root;
  await assert.rejects(
    callRuntime(deps, { ...call, timeoutMs: 10, graceMs: forLongMs }),
    /save container c: the runtime did not end within 10 ms/,
  );
  assert.ok(existsSync(join(directory, 'ended')));
});

test('after the time of grace the runtime is killed with what it has started', async (t) => {
  const deps = shellRuntime(t, poller, 'sleep 1000 & echo $! >part; mv part pid; wait');
  const directory = deps.runtime.root;
  const abort = new AbortController();
  const refused = assert.rejects(callRuntime(deps, { ...call, signal: abort.signal, graceMs: 10 }), /enough/);
  await there(join(directory, 'pid'));
  const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
  abort.abort(new Error('enough'));
  await refused;
  while (isAlive(pid)) await sleep(5);
});

async function there(file: string): Promise<void> {
  while (!existsSync(file)) await sleep(5);
}

/** A zombie that nobody collects has ended too. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
