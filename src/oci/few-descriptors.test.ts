/** What starts a process must give back every descriptor when the daemon runs out of them on the way. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../lib/errors.ts';
import { runCommand } from '../linux/command.ts';
import { Poller } from '../linux/poll.ts';
import { ConmonProcess } from './conmon.ts';
import { startDirectExec } from './exec-direct.ts';
import { callRuntime, type RuntimeDeps } from './runtime-call.ts';

const poller = new Poller();
const directory = mkdtempSync(join(tmpdir(), 'gantry-few-'));
const limit = 128;
/** More than any of them needs. */
const mostFree = 16;

before(async () => {
  await runCommand(['prlimit', '--pid', String(process.pid), `--nofile=${limit}:`], { check: true });
});
after(async () => {
  await poller[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const deps: RuntimeDeps = {
  poller,
  runtime: {
    name: 'r',
    path: '/bin/true',
    kind: 'crun',
    version: '1',
    root: directory,
    systemdCgroup: false,
  },
};
const conmon = {
  path: '/bin/true',
  exitDirectory: directory,
  socketDirectory: directory,
  place: async () => {},
};
const starts: Readonly<Record<string, () => Promise<unknown>>> = {
  'a call of the runtime': async () =>
    await callRuntime(deps, { what: 'call', args: [], input: 'x', wantsOutput: true }),
  'a monitor': async () => {
    const launch = { args: [], directory, withAttachPipe: true };
    using started = ConmonProcess.start({ conmon, poller }, launch);
    await started.exited;
  },
  'an exec': async () => {
    const spec = { args: ['true'], cwd: '/', user: { uid: 0, gid: 0 } };
    const session = startDirectExec(deps, { containerId: 'c', process: spec, stdin: true, directory });
    session.stdout.resume();
    session.stderr.resume();
    await session.exit;
  },
};

for (const [what, start] of Object.entries(starts)) {
  test(`${what} that fails for want of descriptors keeps none`, async () => {
    await start();
    const held = await heldDescriptors();
    const outcomes = new Set<string>();
    for (let free = 0; free <= mostFree; free += 1) {
      outcomes.add(await withOnly(free, start));
      assert.deepEqual(await heldDescriptors(held), held, `with ${free} free`);
    }
    assert.deepEqual(outcomes, new Set(['EMFILE', 'done']));
  });
}

async function withOnly(free: number, start: () => Promise<unknown>): Promise<string> {
  const filler: number[] = [];
  try {
    for (;;) filler.push(openSync('/dev/null', 'r'));
  } catch (error) {
    assert.equal(errnoOf(error), 'EMFILE');
  }
  for (const fd of filler.splice(0, free)) closeSync(fd);
  try {
    await start();
    return 'done';
  } catch (error) {
    assert.match(String(error), /EMFILE|too many open files/i);
    return 'EMFILE';
  } finally {
    for (const fd of filler) closeSync(fd);
  }
}

/** What sockets hold is closed a moment after they are destroyed: waits for as many as `expected`, a while. */
async function heldDescriptors(expected?: number): Promise<number> {
  for (let attempt = 0; ; attempt += 1) {
    await sleep(5);
    const count = readdirSync('/proc/self/fd').length;
    if (attempt >= (expected === undefined ? 4 : 100) || count === expected) return count;
  }
}
