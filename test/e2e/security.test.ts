// test-minutes: 5
/** The whole daemon against hostile images, log directories and clients, and what it shows of itself. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { FixtureConfig, LayerEntry } from '../../src/images/testing/build-image.ts';
import { rejectsWith } from './engine/cri-client.ts';
import { criSocket } from './engine/daemon.ts';
import { describeNode } from './engine/describe-node.ts';
import { pushBusyboxVariant } from './engine/images.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  type Listed,
  pull,
  removeAllPods,
  removePod,
  runPod,
  startIn,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';
import type { PodStatus } from './engine/wire.ts';

describeNode('security', { timeoutMs: 240_000 }, ({ cri, node, assertEmpty }) => {
  const variant = async (
    name: string,
    image: { entries?: readonly LayerEntry[]; config?: FixtureConfig },
  ): Promise<string> => {
    const reference = await pushBusyboxVariant(node.registry.host, `hostile/${name}`, image);
    await pull(cri, reference);
    return reference;
  };

  test('CVE-2021-41103, CVE-2024-25621: the modes of directories and of the socket', () => {
    const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
    assert.equal(mode(criSocket), '660');
    assert.equal(mode('/run/gantry'), '711');
    assert.equal(mode('/var/lib/gantry'), '700');
    assert.equal(mode('/run/gantry/containers'), '700');
  });

  test('CVE-2020-15257: the daemon listens on loopback and on socket files, on no abstract socket', () => {
    const inodes = new Set(
      readdirSync(`/proc/${node.daemon.pid}/fd`).flatMap((fd) => {
        const link = readlinkSync(`/proc/${node.daemon.pid}/fd/${fd}`);
        return /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? [];
      }),
    );
    const rows = (file: string): string[][] =>
      readFileSync(`/proc/${node.daemon.pid}/net/${file}`, 'utf8')
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/));
    const listening = [...rows('tcp'), ...rows('tcp6')]
      .filter((row) => row[3] === '0A' && inodes.has(row[9] ?? ''))
      .map((row) => row[1]?.split(':')[0]);
    assert.deepEqual(listening, ['0100007F']);
    const names = rows('unix').flatMap((row) => (inodes.has(row[6] ?? '') ? [row[7] ?? ''] : []));
    assert.ok(names.includes(criSocket));
    assert.deepEqual(
      names.filter((name) => name.startsWith('@')),
      [],
    );
  });

  test('CVE-2026-41579, CVE-2026-88264, CVE-2023-27561: an image with links for /dev, /proc and /sys', async () => {
    const entries: LayerEntry[] = ['dev', 'proc', 'sys'].map((name) => ({
      name,
      type: 'symlink',
      linkname: name === 'dev' ? '/etc' : '/tmp',
    }));
    const image = await variant('links', { entries });
    const before = readdirSync('/etc').length;
    const pod = await runPod(cri, 'links');
    const id = await startIn(cri, pod, idleSpec('c', image));
    const script =
      'test -c /dev/null && test ! -e /etc/null && test -d /proc/self && test -d /sys/class && echo fine';
    assert.deepEqual(await exec(cri, id, 'sh', '-c', script), { stdout: 'fine', exitCode: 0 });
    assert.equal((await exec(cri, id, 'sh', '-c', 'echo x > /proc/sys/kernel/domainname')).exitCode, 1);
    assert.equal(readdirSync('/etc').length, before);
    await removePod(cri, pod.id);
  });

  test('CVE-2024-9676, CVE-2024-40635: /etc/passwd that blocks, and users beyond 32 bits, are refused', async () => {
    const fifo = await variant('fifo', { entries: [{ name: 'etc/passwd', type: 'fifo' }] });
    const wrapped = await variant('wrapped', { config: { User: '4294967296', Cmd: ['id'] } });
    const pod = await runPod(cri, 'users');
    await rejectsWith(
      createIn(cri, pod, idleSpec('fifo', fifo)),
      'INVALID_ARGUMENT',
      /passwd.*not a regular file/,
    );
    await rejectsWith(createIn(cri, pod, idleSpec('big', wrapped)), 'INVALID_ARGUMENT', /USER.*4294967296/);
    const { image } = await cri.call<{ image: { uid: { value: string } | null; username: string } }>(
      'ImageStatus',
      { image: { image: wrapped } },
    );
    assert.equal(image.uid?.value, '4294967296', 'the kubelet must not take it for root, nor for a name');
    assert.deepEqual(await listContainers(cri), []);
    await removePod(cri, pod.id);
  });

  test('log path escape: a link in the pod’s log directory, at the start and before a rotation', async () => {
    const secret = join(node.directory, 'secret');
    writeFileSync(secret, 'untouched');
    const logDirectory = '/var/log/pods/e2e_logs';
    const pod = await runPod(cri, 'logs', { logDirectory });
    mkdirSync(logDirectory, { recursive: true });
    symlinkSync(secret, join(logDirectory, 'linked.log'));
    symlinkSync(node.directory, join(logDirectory, 'away'));
    const config = (name: string, logPath: string) => ({ ...idleSpec(name, node.images.busybox), logPath });
    for (const logPath of ['linked.log', 'away/x.log'])
      await rejectsWith(createIn(cri, pod, config('c', logPath)), 'FAILED_PRECONDITION', /log path/);
    await rejectsWith(createIn(cri, pod, config('c', '../x.log')), 'INVALID_ARGUMENT', /log_path/);
    const containerId = await startIn(cri, pod, config('c', 'c.log'));
    symlinkSync(secret, join(logDirectory, 'c.log.tmp'));
    await rejectsWith(cri.call('ReopenContainerLog', { containerId }), 'FAILED_PRECONDITION', /c\.log\.tmp/);
    assert.equal(readFileSync(secret, 'utf8'), 'untouched');
    await removePod(cri, pod.id);
    execFileSync('rm', ['-r', logDirectory]);
  });

  test('CVE-2026-53488, CVE-2024-3154: what an image’s labels and a pod’s annotations say reaches no runtime', async () => {
    const image = await variant('labels', {
      config: { Labels: { 'io.containerd.log': 'binary:///bin/sh' } },
    });
    const annotations = { 'run.oci.handler': 'wasm', 'org.systemd.property.ExecStart': 'x', bundle: '/' };
    const pod = await runPod(cri, 'labels', { annotations });
    const containerId = await startIn(cri, pod, idleSpec('c', image, { annotations }));
    const spec = readFileSync(`/run/gantry/containers/${containerId}/config.json`, 'utf8');
    assert.doesNotMatch(spec, /binary:|run\.oci|systemd\.property/);
    await removePod(cri, pod.id);
  });

  test('registry credential leaks: a password is in no log line, no error and no file', async () => {
    const password = 'correct-horse-battery-staple';
    const auth = { username: 'somebody', password };
    const [host = ''] = node.images.busybox.split('/');
    const there = cri.call('PullImage', { image: { image: node.images.busybox }, auth });
    await there;
    const missing = cri.call('PullImage', { image: { image: `${host}/nothing/here:1` }, auth });
    await assert.rejects(missing, (error: Error) => !error.message.includes(password));
    assert.ok(!node.daemon.log.includes(password));
    for (const directory of ['/var/lib/gantry', '/run/gantry']) {
      const found = execFileSync('sh', ['-c', `grep -rlaF --devices=skip ${password} ${directory} || true`]);
      assert.equal(found.toString(), '', directory);
    }
  });

  test('failed to reserve a name (containerd#4604, containerd#13867, containerd#9947, cri-o#8906): a retry finds what its first client gave up', async () => {
    const idsOf = (all: readonly Listed[]): string[] => all.map(({ id }) => id);
    // Shorter and longer than the work: given up before, in the middle, and perhaps after it.
    const giveUp = async (method: string, request: Readonly<Record<string, unknown>>): Promise<void> => {
      for (const timeoutMs of [1, 10, 30, 60])
        await cri.call(method, request, { timeoutMs }).catch(() => undefined);
    };
    const sandboxConfig = podSpec('retry');
    await giveUp('RunPodSandbox', { config: sandboxConfig });
    const { id: podSandboxId } = await runPod(cri, 'retry');
    assert.equal((await runPod(cri, 'retry')).id, podSandboxId);
    assert.deepEqual(idsOf(await listPods(cri)), [podSandboxId]);
    const config = containerSpec('c', node.images.busybox, { command: ['true'] });
    const request = { podSandboxId, config, sandboxConfig };
    await giveUp('CreateContainer', request);
    const { containerId } = await cri.call<{ containerId: string }>('CreateContainer', request);
    assert.deepEqual(await cri.call('CreateContainer', request), { containerId });
    assert.deepEqual(idsOf(await listContainers(cri)), [containerId]);
    await cri.call('StartContainer', { containerId });
    await untilState(cri, containerId, 'CONTAINER_EXITED');
    assert.deepEqual(idsOf(await listContainers(cri)), [containerId]);
    await removePod(cri, podSandboxId);
  });

  test('a PID namespace whose keeper has died is not joined by the keeper’s number: the pod is over', async () => {
    const pod = await runPod(cri, 'kept');
    const podSandboxId = pod.id;
    const state = async (): Promise<{ state: string; pid: number }> => {
      const { status, info } = await cri.call<{ status: PodStatus; info: { info: string } }>(
        'PodSandboxStatus',
        { podSandboxId, verbose: true },
      );
      return { state: status.state, pid: (JSON.parse(info.info) as { pid: number }).pid };
    };
    const { pid } = await state();
    process.kill(pid, 'SIGKILL');
    await eventually('the keeper’s end', async () => (existsSync(`/proc/${pid}`) ? undefined : true));
    await rejectsWith(
      createIn(cri, pod, idleSpec('c', node.images.busybox)),
      'FAILED_PRECONDITION',
      /PID namespace|is not ready/,
    );
    assert.equal((await state()).state, 'SANDBOX_NOTREADY');
    await removePod(cri, podSandboxId);
  });

  test('mass start (cri-o#3808, kubernetes#120103): a pod is no process and no unit of its own', async () => {
    const processes = (): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const before = new Set(processes());
    const linux = { securityContext: { namespaceOptions: { pid: 'CONTAINER' } } };
    const pod = await runPod(cri, 'light', { linux });
    assert.deepEqual(
      processes().filter((pid) => !before.has(pid)),
      [],
    );
    await removePod(cri, pod.id);
  });

  test('nothing is left', async () => {
    await removeAllPods(cri);
    for (const name of ['links', 'fifo', 'wrapped', 'labels'])
      await cri.call('RemoveImage', { image: { image: `${node.registry.host}/hostile/${name}:latest` } });
    await assertEmpty();
  });
});
