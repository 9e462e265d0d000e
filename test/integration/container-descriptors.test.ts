/** What of the host a container's processes could reach by descriptor or by socket: nothing. */
import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startExec } from '../../src/oci/exec.ts';
import { createContainer, type MonitoredContainer } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import type { Spec } from '../../src/oci/spec-types.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

describe('what a container can reach of the host', { timeout: 120_000 }, () => {
  let fixture: OciFixture;
  before(async () => {
    fixture = await makeOciFixture();
  });
  after(async () => {
    await fixture[Symbol.asyncDispose]();
  });

  async function run(
    id: string,
    args: readonly string[],
    change?: (spec: Spec) => Spec,
  ): Promise<MonitoredContainer> {
    const bundle = fixture.bundle(id, args, change);
    const container = { id, bundle, logPath: join(bundle, 'log'), terminal: false, stdin: 'open' } as const;
    const made = await createContainer(fixture.deps, container);
    await startContainer(fixture.deps, { id });
    return made;
  }
  const remove = async (id: string): Promise<void> =>
    await deleteContainer(fixture.deps, { id, hasEnded: false });

  test('CVE-2024-21626: a container and an exec have their three descriptors and no other', async () => {
    const { process } = await run('plain', ['sleep', '1000']);
    await untilRuns(process.pid, 'sleep');
    assert.deepEqual(descriptors(process.pid), ['0', '1', '2']);
    for (const terminal of [false, true]) {
      const exec = startExec(fixture.deps, {
        containerId: 'plain',
        process: {
          user: { uid: 0, gid: 0 },
          args: ['sh', '-c', 'echo at /proc/self/fd/*; read line'],
          env: ['PATH=/bin'],
          cwd: '/',
          ...(terminal ? { terminal } : {}),
        },
        stdin: true,
        directory: join(fixture.directory, 'bundles/plain'),
      });
      exec.stderr.resume();
      const [first] = (await exec.stdout.take(1).toArray()) as Buffer[];
      const seen = /at (.*)/.exec(String(first))?.[1]?.trim().split(' ') ?? [];
      // The fourth is the shell's own look into the directory.
      assert.deepEqual(
        seen.slice(0, 3).map((path) => path.split('/').at(-1)),
        ['0', '1', '2'],
        String(first),
      );
      assert.ok(seen.length <= 4, String(first));
      await exec.killTree();
      await exec.exit.catch(() => undefined);
    }
    await remove('plain');
  });

  test('CVE-2024-21626: an image whose working directory is a link into /proc/self/fd stays in its root', async () => {
    const link = join(fixture.directory, 'rootfs/leak');
    for (let fd = 3; fd <= 12; fd += 1) {
      rmSync(link, { force: true });
      symlinkSync(`/proc/self/fd/${fd}`, link);
      const id = `cwd-${fd}`;
      const inLink = (spec: Spec): Spec => ({ ...spec, process: { ...spec.process, cwd: '/leak' } });
      const made = await run(id, ['sleep', '1000'], inLink).catch(() => undefined);
      if (made !== undefined) {
        await untilRuns(made.process.pid, 'sleep');
        const root = statSync(`/proc/${made.process.pid}/cwd/../../../../../../..`);
        assert.notEqual(`${root.dev}:${root.ino}`, `${statSync('/').dev}:${statSync('/').ino}`, id);
      }
      await remove(id);
    }
    rmSync(link, { force: true });
  });

  test('CVE-2020-15257: the monitor listens on no abstract socket, and its files are root’s alone', async () => {
    const { monitor, process } = await run('sockets', ['sleep', '1000']);
    const inodes = new Set(
      descriptorLinks(monitor.pid).flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []),
    );
    const own = readFileSync(`/proc/${monitor.pid}/net/unix`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => inodes.has(fields[6] ?? ''));
    assert.ok(own.length > 0);
    for (const fields of own) assert.doesNotMatch(fields[7] ?? '', /^@/);
    const bundle = join(fixture.directory, 'bundles/sockets');
    for (const name of ['attach', 'ctl', 'winsz'])
      assert.equal(lstatSync(join(bundle, name)).mode & 0o007, 0, name);
    assert.ok(process.pid > 0);
    await remove('sockets');
  });
});

function descriptorLinks(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}

function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`);
}

/** Before that the process is still the runtime's own, with the runtime's descriptors. */
async function untilRuns(pid: number, name: string): Promise<void> {
  while (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(name))
    await new Promise((resolve) => setImmediate(resolve));
}
