import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { cgroupDirectories, cgroupOfProcess, detectHostCgroups } from '../../src/cgroups/host.ts';
import { KeptFiles } from '../../src/cgroups/kept-files.ts';
import { killCgroup } from '../../src/cgroups/kill.ts';
import { readOomKills } from '../../src/cgroups/oom.ts';
import { readStats, readUsage } from '../../src/cgroups/read-stats.ts';
import { addProcess, createCgroup, listProcesses, removeCgroup } from '../../src/cgroups/tree.ts';
import { isKind } from '../../src/lib/errors.ts';
import { spawnProcess } from '../../src/linux/command.ts';
import { createContainer } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import { ExitWatcher } from '../../src/oci/exits.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

describe('cgroups of this host', { timeout: 60_000 }, () => {
  const host = detectHostCgroups();
  const path = `/gantry-test-cgroups-${process.pid}`;
  let fixture: OciFixture;
  before(async () => {
    fixture = await makeOciFixture();
  });
  after(async () => {
    await removeCgroup(host, path, { timeoutMs: 5000 });
    await fixture[Symbol.asyncDispose]();
  });

  async function spawnInside(script: string): Promise<ReturnType<typeof spawnProcess>> {
    const { poller } = fixture.deps;
    const child = spawnProcess(['sh', '-c', script], {
      fds: new Map(),
      env: { PATH: '/usr/bin:/bin' },
      newSession: true,
      poller,
    });
    await addProcess(host, path, child.pid);
    return child;
  }

  test('cgroup leaks (containerd#11087, kubernetes#123766): processes are placed, listed, measured, killed; then it goes', async () => {
    createCgroup(host, `${path}/inner`);
    createCgroup(host, `${path}/inner`);
    await removeCgroup(host, `${path}/inner`, { timeoutMs: 1000 });
    const child = await spawnInside('trap "" TERM; while true; do sleep 0.01 & wait; done');
    assert.ok(listProcesses(host, path).includes(child.pid));
    assert.equal(cgroupOfProcess(host, child.pid), path);
    const stats = readStats(host, path);
    assert.ok(stats.cpu !== undefined);
    // On cgroup v2 the other controllers come with the first container that has limits.
    if (host.layout !== 'unified') assert.ok((stats.pids?.current ?? 0) >= 1);
    await assert.rejects(removeCgroup(host, path, { timeoutMs: 20 }), (error: Error) => {
      return isKind(error, 'failed-precondition') && error.message.includes(String(child.pid));
    });
    await killCgroup(host, path, { timeoutMs: 5000 });
    assert.deepEqual(listProcesses(host, path), []);
    assert.equal((await child.exited).signal, 9);
    await removeCgroup(host, path, { timeoutMs: 5000 });
    for (const directory of cgroupDirectories(host, path)) assert.equal(existsSync(directory), false);
  });

  test('a cgroup whose files are kept open can be removed; one that is made in its place has its own numbers', async () => {
    using files = new KeptFiles(100);
    const inner = `${path}/kept`;
    const read = () => readUsage(host, inner, (directory, file) => files.readText('pod', directory, file));
    createCgroup(host, inner);
    const usage = read();
    assert.ok(usage.cpu !== undefined);
    assert.deepEqual(Object.keys(usage), Object.keys(readUsage(host, inner)));
    await removeCgroup(host, inner, { timeoutMs: 1000 });
    assert.deepEqual(read(), {});
    createCgroup(host, inner);
    assert.deepEqual(Object.keys(read()), Object.keys(usage));
    await removeCgroup(host, inner, { timeoutMs: 1000 });
  });

  test('removing and killing what is not there is no error, the root is refused', async () => {
    await removeCgroup(host, '/gantry-test-nothing', { timeoutMs: 100 });
    await killCgroup(host, '/gantry-test-nothing', { timeoutMs: 100 });
    await assert.rejects(removeCgroup(host, '/', { timeoutMs: 100 }), /root cgroup/);
  });

  test('a container that wants more memory than its limit is found killed by it', async () => {
    using watcher = new ExitWatcher(
      { poller: fixture.deps.poller, onError: (error) => assert.fail(String(error)) },
      fixture.exitDirectory,
    );
    watcher.start();
    const limit = 16 * 1024 * 1024;
    const bundle = fixture.bundle(
      'hungry',
      ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=200M', 'count=1'],
      (spec) => ({
        ...spec,
        linux: { ...spec.linux, resources: { memory: { limit, swap: limit } } },
      }),
    );
    const exit = new Promise<number>((resolve) =>
      watcher.exits.subscribe(({ exitCode }) => resolve(exitCode)),
    );
    const { process: init } = await createContainer(fixture.deps, {
      id: 'hungry',
      bundle,
      terminal: false,
      stdin: 'none',
    });
    const cgroup = cgroupOfProcess(host, init.pid) ?? '';
    assert.match(cgroup, /hungry/);
    assert.equal(readOomKills(host, cgroup), 0);
    assert.equal(readStats(host, cgroup).memory?.limitBytes, limit);
    await startContainer(fixture.deps, { id: 'hungry' });
    assert.equal(await exit, 137);
    assert.ok((readOomKills(host, cgroup) ?? 0) >= 1);
    await deleteContainer(fixture.deps, { id: 'hungry', hasEnded: false });
    assert.equal(readOomKills(host, cgroup), undefined);
  });
});
