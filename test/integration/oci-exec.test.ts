import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { isKind } from '../../src/lib/errors.ts';
import { startExec } from '../../src/oci/exec.ts';
import type { ExecSession } from '../../src/oci/exec-session.ts';
import { createContainer } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import type { ProcessSpec } from '../../src/oci/spec-types.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

describe('exec in a container', { timeout: 90_000 }, () => {
  let fixture: OciFixture;
  let containerPid: number;
  before(async () => {
    fixture = await makeOciFixture();
    const bundle = fixture.bundle('host', ['sh', '-c', 'while true; do sleep 1000; done']);
    const created = await createContainer(fixture.deps, {
      id: 'host',
      bundle,
      terminal: false,
      stdin: 'none',
    });
    containerPid = created.process.pid;
    await startContainer(fixture.deps, { id: 'host' });
  });
  after(async () => {
    await deleteContainer(fixture.deps, { id: 'host', hasEnded: false });
    await fixture[Symbol.asyncDispose]();
  });

  function start(
    args: readonly string[],
    more: { stdin?: boolean; terminal?: boolean; cwd?: string; oomScoreAdj?: number; env?: string[] } = {},
  ): ExecSession {
    const process: ProcessSpec = {
      user: { uid: 0, gid: 0 },
      args,
      env: ['PATH=/bin', 'TERM=xterm', ...(more.env ?? [])],
      cwd: more.cwd ?? '/',
      terminal: more.terminal ?? false,
      ...(more.oomScoreAdj === undefined ? {} : { oomScoreAdj: more.oomScoreAdj }),
    };
    const { stdin = false } = more;
    return startExec(fixture.deps, { containerId: 'host', process, stdin, directory: fixture.directory });
  }

  async function outcome(
    session: ExecSession,
  ): Promise<{ exitCode: number; stdout: string; stderr: string }> {
    const [{ exitCode }, stdout, stderr] = await Promise.all([
      session.exit,
      text(session.stdout),
      text(session.stderr),
    ]);
    return { exitCode, stdout, stderr };
  }

  test('hands back exit code and both outputs', async () => {
    assert.deepEqual(await outcome(start(['sh', '-c', 'echo out; echo err >&2; exit 5'])), {
      exitCode: 5,
      stdout: 'out\n',
      stderr: 'err\n',
    });
    assert.equal((await outcome(start(['sh', '-c', 'exit 255']))).exitCode, 255);
    assert.equal((await outcome(start(['sh', '-c', 'kill -9 $$']))).exitCode, 137);
  });

  test('standard input arrives and its end too', async () => {
    const session = start(['wc', '-c'], { stdin: true });
    session.stdin?.write(Buffer.alloc(1_000_000, 'x'));
    session.stdin?.end(Buffer.alloc(2_000_000, 'y'));
    assert.deepEqual(await outcome(session), { exitCode: 0, stdout: '3000000\n', stderr: '' });
  });

  test('without a terminal, its oom_score_adj is its own from its first moment on', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, async () => {
        return await outcome(start(['cat', '/proc/self/oom_score_adj'], { oomScoreAdj: 731 }));
      }),
    );
    for (const { stdout } of outcomes) assert.equal(stdout, '731\n');
  });

  test('with a terminal, its oom_score_adj soon is its own, not the daemon’s', async () => {
    const look = 'score=$(cat /proc/self/oom_score_adj); [ "$score" = 731 ] && break; sleep 0.1';
    const command = ['sh', '-c', `for i in $(seq 50); do ${look}; done; echo $score`];
    const { stdout } = await outcome(start(command, { terminal: true, oomScoreAdj: 731 }));
    assert.equal(stdout.trim(), '731');
  });

  test('an environment larger than any pipe arrives whole', async () => {
    const values = Array.from({ length: 20 }, (_, index) => `V${index}=${'x'.repeat(50_000)}`);
    const { stdout } = await outcome(start(['sh', '-c', 'echo ${#V0} ${#V19}'], { env: values }));
    assert.equal(stdout, '50000 50000\n');
  });

  test('input that nobody reads is no error', async () => {
    const session = start(['true'], { stdin: true });
    session.stdin?.end(Buffer.alloc(1_000_000));
    assert.equal((await outcome(session)).exitCode, 0);
  });

  test('20 MB of output arrive whole', async () => {
    const session = start(['sh', '-c', 'dd if=/dev/zero bs=1048576 count=20 2>/dev/null']);
    session.stderr.resume();
    const [out, { exitCode }] = await Promise.all([buffer(session.stdout), session.exit]);
    assert.equal(out.length, 20 * 1048576);
    assert.equal(exitCode, 0);
  });

  test('a process left behind with the output does not delay the end (containerd#2744)', async () => {
    const session = start(['sh', '-c', 'sleep 1000 & echo started; exit 4']);
    assert.deepEqual(await outcome(session), { exitCode: 4, stdout: 'started\n', stderr: '' });
  });

  test('what cannot be started is told in the words of the runtime', async () => {
    const session = start(['no-such-program']);
    drain(session);
    await assert.rejects(session.exit, (error: Error) => {
      assert.ok(isKind(error, 'failed-precondition'), String(error));
      assert.match(error.message, /no-such-program.*not found in \$PATH/);
      return true;
    });
    const lost = start(['true'], { cwd: '/no/such/directory' });
    drain(lost);
    await assert.rejects(lost.exit, /no\/such\/directory/);
  });

  test('killing the tree reaches children, orphans and those that ignore SIGTERM', async () => {
    const script =
      'trap "" TERM; (sleep 1001 &) ; sh -c "sleep 1002; true" & sh -c "trap \\"\\" TERM; sleep 1003" & echo ready; wait';
    const session = start(['sh', '-c', script]);
    session.stderr.resume();
    await firstLine(session.stdout);
    while (sleepers(containerPid).length < 3) await new Promise((resolve) => setImmediate(resolve));
    await session.killTree();
    assert.equal((await session.exit).exitCode, 137);
    assert.deepEqual(sleepers(containerPid), []);
  });

  test('a terminal has a size, echoes, and ends', async () => {
    const script = 'while read line && [ "$line" != end ]; do stty size; done; exit 6';
    const session = start(['sh', '-c', script], { terminal: true, stdin: true });
    const seen = collect(session.stdout);
    session.stderr.resume();
    // Sizes reach the terminal through two pipes inside of conmon without an answer: asked for until they are there.
    const untilSize = async (pattern: RegExp): Promise<void> => {
      const asking = setInterval(() => session.stdin?.write('go\n'), 100);
      await seen.until(pattern).finally(() => clearInterval(asking));
    };
    session.resize({ columns: 101, rows: 33 });
    await untilSize(/33 101/);
    session.resize({ columns: 60, rows: 20 });
    session.resize({ columns: 77, rows: 22 });
    await untilSize(/22 77/);
    session.stdin?.write('end\n');
    assert.equal((await session.exit).exitCode, 6);
  });

  test('nothing of an exec is left: no file, no descriptor', async () => {
    await outcome(start(['true']));
    const before = readdirSync('/proc/self/fd').length;
    for (const terminal of [false, true]) {
      const session = start(['true'], { terminal, stdin: true });
      assert.equal((await outcome(session)).exitCode, 0);
      await assert.rejects(outcome(start(['no-such-program'], { terminal })));
    }
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(readdirSync('/proc/self/fd').length, before);
    assert.deepEqual(
      readdirSync(fixture.directory).filter((name) => name.startsWith('exec-')),
      [],
    );
  });
});

function drain(session: ExecSession): void {
  session.stdout.resume();
  session.stderr.resume();
}

async function firstLine(stream: Readable): Promise<void> {
  await collect(stream).until(/\n/);
}

function collect(stream: Readable): { until(pattern: RegExp): Promise<void> } {
  let seen = '';
  stream.on('data', (chunk: Buffer) => (seen += chunk.toString()));
  return {
    async until(pattern) {
      while (!pattern.test(seen)) {
        await new Promise<void>((resolve, reject) => {
          stream.once('data', () => resolve());
          stream.once('end', () => reject(new Error(`ended without ${pattern}: ${seen}`)));
        });
      }
    },
  };
}

/** The `sleep 1001`, 1002 and 1003 in the pid namespace of `pid`. */
function sleepers(pid: number): string[] {
  const namespace = readNamespace(pid);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && readNamespace(Number(name)) === namespace)
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    })
    .filter((line) => /^sleep 100[1-3]/.test(line.replaceAll('\0', ' ')));
}

function readNamespace(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
}
