import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { isKind } from '../lib/errors.ts';
import { bootId } from './boot-id.ts';
import type { ProcessExit } from './child.ts';
import { spawnProcess } from './command.ts';
import { openPidfd, openProcess, processStartTicks, sendSignal, signalProcess } from './pidfd.ts';
import { createPipe } from './pipe.ts';
import { Poller } from './poll.ts';

const execute = promisify(execFile);
const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

const env = { PATH: '/usr/bin:/bin' };

/** Runs a shell script with a pipe at the given place of the child and returns what came out of it. */
async function run(script: string, outputFd = 1): Promise<{ output: string; exit: ProcessExit }> {
  const pipe = createPipe();
  const fds = new Map([[outputFd, pipe.write]]);
  const child = spawnProcess(['sh', '-c', script], { fds, env, newSession: true, poller });
  closeSync(pipe.write);
  const output = await text(new Socket({ fd: pipe.read, readable: true, writable: false }));
  return { output, exit: await child.exited };
}

describe('spawnProcess', () => {
  test('hands back exit codes and signals', async () => {
    assert.deepEqual((await run('exit 0')).exit, { exitCode: 0, signal: undefined });
    assert.deepEqual((await run('exit 41')).exit, { exitCode: 41, signal: undefined });
    assert.deepEqual((await run('kill -TERM $$')).exit, { exitCode: undefined, signal: 15 });
  });

  test('the child has exactly the named descriptors, and /dev/null for the first three', async () => {
    const pipe = createPipe();
    const child = spawnProcess(['sleep', '1000'], {
      fds: new Map([[5, pipe.write]]),
      env,
      newSession: true,
      poller,
    });
    const theirs = readdirSync(`/proc/${child.pid}/fd`).map((fd) => [
      fd,
      readlinkSync(`/proc/${child.pid}/fd/${fd}`),
    ]);
    assert.deepEqual(theirs, [
      ['0', '/dev/null'],
      ['1', '/dev/null'],
      ['2', '/dev/null'],
      ['5', readlinkSync(`/proc/self/fd/${pipe.write}`)],
    ]);
    child.kill('SIGKILL');
    assert.equal((await child.exited).signal, 9);
    closeSync(pipe.read);
    closeSync(pipe.write);
  });

  test('descriptors may change places, and one may have several', async () => {
    const first = createPipe();
    const second = createPipe();
    const fds = new Map([
      [first.write, second.write],
      [second.write, first.write],
      [1, first.write],
    ]);
    const script = `echo to-second >&${first.write}; echo to-first >&${second.write}; echo also-first`;
    const child = spawnProcess(['bash', '-c', script], { fds, env, newSession: true, poller });
    closeSync(first.write);
    closeSync(second.write);
    const outputs = await Promise.all(
      [first.read, second.read].map(async (fd) => await text(new Socket({ fd, writable: false }))),
    );
    assert.deepEqual(outputs, ['to-first\nalso-first\n', 'to-second\n']);
    assert.equal((await child.exited).exitCode, 0);
  });

  test('no signal is ignored or blocked in the child although Node ignores SIGPIPE', async () => {
    const { output } = await run('grep -E "^Sig(Blk|Ign)" /proc/self/status');
    assert.match(output, /SigBlk:\t0{16}\nSigIgn:\t0{16}\n/);
  });

  test('the child leads a session, has only the given environment, and starts in the given directory', async () => {
    const { output } = await run('read -r _ _ _ _ group session _ < /proc/$$/stat; echo $$ $group $session');
    const [pid, group, session] = output.trim().split(' ');
    assert.equal(pid, group);
    assert.equal(pid, session);
    const pipe = createPipe();
    const fds = new Map([[1, pipe.write]]);
    const child = spawnProcess(['sh', '-c', 'pwd; tr "\\0" "\\n" < /proc/$$/environ'], {
      fds,
      env: { ONE: '1' },
      cwd: tmpdir(),
      newSession: true,
      poller,
    });
    closeSync(pipe.write);
    assert.equal(await text(new Socket({ fd: pipe.read, writable: false })), `${tmpdir()}\nONE=1\n`);
    await child.exited;
  });

  test('what cannot be started is named', () => {
    const options = { fds: new Map<number, number>(), env, newSession: true, poller } as const;
    assert.throws(
      () => spawnProcess(['gantry-no-such-program'], options),
      (error: Error) =>
        isKind(error, 'failed-precondition') && error.message.includes('gantry-no-such-program'),
    );
    assert.throws(() => spawnProcess(['true', 'a\0b'], options), { kind: 'invalid-argument' });
    assert.throws(() => spawnProcess(['true'], { ...options, env: { A: '\0' } }), {
      kind: 'invalid-argument',
    });
    assert.throws(() => spawnProcess(['true'], { ...options, cwd: '/no/such' }), {
      code: 'ENOENT',
      path: '/no/such',
    });
    assert.throws(() => spawnProcess(['true'], { ...options, fds: new Map([[0, 999_999]]) }), {
      code: 'EBADF',
    });
  });

  test('a signal by pidfd and start time reaches the process, and nobody once it has ended', async () => {
    const child = spawnProcess(['sleep', '1000'], { fds: new Map(), env, newSession: true, poller });
    assert.equal(child.startTicks, processStartTicks(child.pid));
    assert.equal(signalProcess({ pid: child.pid, startTicks: child.startTicks - 1n }, 'SIGKILL'), false);
    assert.equal(openProcess({ pid: child.pid, startTicks: child.startTicks + 1n }), undefined);
    const pidfd = openPidfd(child.pid);
    assert.equal(sendSignal(pidfd, 0), true);
    const thread =
      readdirSync('/proc/self/task')
        .map(Number)
        .find((task) => task !== process.pid) ?? 0;
    assert.equal(signalProcess({ pid: thread, startTicks: processStartTicks(thread) ?? 0n }, 0), false);
    assert.equal(signalProcess(child, 'SIGTERM'), true);
    assert.deepEqual(await child.exited, { exitCode: undefined, signal: 15 });
    assert.equal(child.kill('SIGKILL'), false);
    assert.equal(sendSignal(pidfd, 'SIGKILL'), false);
    assert.equal(signalProcess(child, 'SIGKILL'), false);
    closeSync(pidfd);
    assert.equal(processStartTicks(child.pid), undefined);
  });

  test('two hundred at once, mixed with children of libuv: every exit code right, no descriptor or zombie left', async () => {
    await run('exit 0');
    const descriptors = readdirSync('/proc/self/fd').length;
    const codes = Array.from({ length: 100 }, (_, index) => index);
    const ours = codes.map((code) =>
      spawnProcess(['sh', '-c', `exit ${code}`], { fds: new Map(), env, newSession: true, poller }),
    );
    const theirs = codes.map(async (code) => {
      const failed = await execute('sh', ['-c', `exit ${code}`]).catch((error: { code: number }) => error);
      return 'code' in failed ? failed.code : 0;
    });
    assert.deepEqual(await Promise.all(theirs), codes);
    const exits = await Promise.all(ours.map(async (child) => await child.exited));
    assert.deepEqual(
      exits.map((exit) => exit.exitCode),
      codes,
    );
    assert.deepEqual(
      ours.filter((child) => processStartTicks(child.pid) === child.startTicks),
      [],
    );
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
  });
});

test('the boot id is a uuid and stays the same', () => {
  assert.match(bootId(), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.equal(bootId(), bootId());
});

test('a pipe is closed in what libuv starts', async () => {
  const pipe = createPipe();
  const { stdout } = await execute('ls', ['/proc/self/fd']);
  assert.ok(!stdout.split('\n').includes(String(pipe.write)));
  closeSync(pipe.read);
  closeSync(pipe.write);
});
