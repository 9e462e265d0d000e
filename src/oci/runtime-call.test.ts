import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Poller } from '../linux/poll.ts';
import { callRuntime, type RuntimeDeps } from './runtime-call.ts';

const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

/** A runtime whose every command is this line of shell, run in the directory. */
function runtimeOf(
  t: TestContext,
  script: string,
): { readonly deps: RuntimeDeps; readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-call-'));
  const path = join(directory, 'runtime');
  writeFileSync(path, `#!/bin/sh\ncd ${directory}\n${script}\n`, { mode: 0o755 });
  t.after(() => rmSync(directory, { recursive: true }));
  const runtime = {
    name: 'fake',
    path,
    kind: 'other',
    version: '1',
    root: directory,
    systemdCgroup: false,
  } as const;
  return { deps: { poller, runtime }, directory };
}

const call = { what: 'save container c', args: ['save'] };
/** Longer than any test waits. */
const forLongMs = 600_000;

test('an aborted call kills the runtime', async (t) => {
  const { deps } = runtimeOf(t, 'exec sleep 1000');
  const signal = AbortSignal.timeout(50);
  await assert.rejects(callRuntime(deps, { ...call, signal }), { name: 'TimeoutError' });
});

test('with a time of grace, what was begun is ended first, and the call fails all the same', async (t) => {
  const script = 'touch begun; while [ ! -e go ]; do sleep 0.01; done; touch ended';
  const { deps, directory } = runtimeOf(t, script);
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
  const { deps, directory } = runtimeOf(t, 'sleep 0.2; touch ended');
  await assert.rejects(
    callRuntime(deps, { ...call, timeoutMs: 10, graceMs: forLongMs }),
    /save container c: the runtime did not end within 10 ms/,
  );
  assert.ok(existsSync(join(directory, 'ended')));
});

test('after the time of grace the runtime is killed with what it has started', async (t) => {
  const { deps, directory } = runtimeOf(t, 'sleep 1000 & echo $! >part; mv part pid; wait');
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
