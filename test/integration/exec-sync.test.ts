/** ExecSync against processes that write without end, or never end. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { OutputRoom } from '../../src/containers/command-output.ts';
import { execSync, type ExecSyncDeps } from '../../src/containers/exec-sync.ts';
import type { ContainerId } from '../../src/lib/ids.ts';
import { createContainer } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

const id = 'probed' as ContainerId;
const never = new AbortController().signal;
const maxOutputBytes = 16 * 1024 * 1024;

describe('ExecSync', { timeout: 120_000 }, () => {
  let fixture: OciFixture;
  let deps: ExecSyncDeps;
  let bundle = '';

  before(async () => {
    fixture = await makeOciFixture();
    bundle = fixture.bundle(id, ['sleep', '1000']);
    const container = { id, bundle, terminal: false, stdin: 'none' } as const;
    const processes = await createContainer(fixture.deps, container);
    await startContainer(fixture.deps, { id });
    const stateDirectory = join(fixture.directory, 'state');
    mkdirSync(stateDirectory);
    symlinkSync(join(fixture.directory, 'bundles'), join(stateDirectory, 'containers'));
    const record = { id, runtimeHandler: '', state: { name: 'running', processes } };
    const store = { mustFind: () => record } as unknown as ExecSyncDeps['store'];
    deps = { store, stateDirectory, monitorDeps: () => fixture.deps, outputRoom: new OutputRoom() };
  });
  after(async () => {
    await deleteContainer(fixture.deps, { id, hasEnded: false });
    await fixture[Symbol.asyncDispose]();
  });

  const run = async (script: string, timeoutMs: number, signal = never) =>
    await execSync(deps, { id, command: ['sh', '-c', script], timeoutMs }, signal);
  const bytesOf = (chunks: readonly Buffer[]): number => Buffer.concat(chunks).length;
  const left = (): readonly string[] => readdirSync(bundle).filter((name) => name.startsWith('exec-'));

  test('CVE-2022-1708, CVE-2022-31030: what is written beyond 16 MiB is dropped, on each output', async () => {
    const script = 'yes | head -c 25000000; yes | head -c 20000000 >&2; exit 3';
    const { stdout, stderr, exitCode } = await run(script, 0);
    assert.equal(bytesOf(stdout), maxOutputBytes);
    assert.equal(bytesOf(stderr), maxOutputBytes);
    assert.equal(exitCode, 3);
  });

  test('an output is whole and in order, however it was written', async () => {
    const numbers = Array.from({ length: 30_000 }, (_, at) => `${at + 1}\n`).join('');
    const { stdout, stderr, exitCode } = await run('seq 30000; for i in 1 2 3; do echo $i >&2; done', 0);
    assert.equal(Buffer.concat(stdout).toString('utf8'), numbers);
    assert.equal(Buffer.concat(stderr).toString('utf8'), '1\n2\n3\n');
    assert.equal(exitCode, 0);
    assert.equal(bytesOf((await run('true', 0)).stdout), 0);
  });

  test('exec probe that hangs (containerd#7802): it is killed with all it started, and the next probe does not wait', async () => {
    const script = `trap '' TERM; setsid sleep 4001 & sleep 4002 & exec sleep 4003`;
    for (let round = 0; round < 3; round += 1) {
      await assert.rejects(run(script, 300), { kind: 'deadline-exceeded', message: /timed out after 0.3 s/ });
      assert.equal(Buffer.concat((await run('echo alive', 10_000)).stdout).toString('utf8'), 'alive\n');
    }
    assert.deepEqual(sleepers(['4002', '4003']), []);
    assert.deepEqual(left(), []);
  });

  test('a client that leaves takes its command along', async () => {
    const client = new AbortController();
    const running = run('echo started; exec sleep 4004', 0, client.signal);
    while (sleepers(['4004']).length === 0) await new Promise((resolve) => setImmediate(resolve));
    client.abort(new Error('the client has gone'));
    await assert.rejects(running, /the client has gone/);
    assert.deepEqual(sleepers(['4004']), []);
    assert.deepEqual(left(), []);
  });
});

/** Processes of this host, and of containers on it, that sleep for so long. */
function sleepers(seconds: readonly string[]): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || !existsSync(`/proc/${pid}/cmdline`)) return false;
    try {
      const [name, argument = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return name === 'sleep' && seconds.includes(argument);
    } catch {
      return false;
    }
  });
}
