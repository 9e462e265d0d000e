/** Restoring containers from checkpoints: what runs on, and what is refused because its request does not allow it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { buildImage, buildLayer, pushImage } from '../../src/images/testing/build-image.ts';
import { counter } from './engine/counter.ts';
import { criuSkipReason } from './engine/criu.ts';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import {
  createIn,
  exec,
  pidOf,
  pull,
  removePod,
  runPod,
  startIn,
  type StartedPod,
  statusOf,
} from './engine/pod-steps.ts';
import { containerSpec, type PodSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

const saved = '/var/lib/saved';
const toml = `[runtime]
default_handler = "runc"
[checkpoints]
restore_directories = ["${saved}"]
restore_images = true
`;
const options = {
  toml,
  timeoutMs: 300_000,
  skipReason: criuSkipReason(),
  prepare: () => mkdirSync(saved, { mode: 0o700 }),
};

describeNode('restoring checkpoints', options, ({ cri, node }) => {
  let empty: NodeState;
  let pod: StartedPod;
  const archive = join(saved, 'counter.tar');

  before(async () => {
    pod = await runPod(cri, 'restored');
    empty = nodeState();
    const command = ['sh', '-c', `rm /etc/group; mkdir /new; echo changed > /new/file; ${counter}`];
    const id = await start(containerSpec('counter', node.images.busybox, { command, linux }));
    await countBeyond('counter', 5);
    await cri.call('CheckpointContainer', { containerId: id, location: archive });
    await remove(id);
    await assertNothingLeft(empty);
  });

  /** As the kubelet asks for an ordinary container. */
  const linux = {
    resources: { memoryLimitInBytes: '200000000' },
    securityContext: {
      namespaceOptions: { pid: 'CONTAINER' },
      seccomp: { profileType: 'RuntimeDefault' },
      maskedPaths: ['/proc/kcore', '/proc/keys', '/sys/firmware'],
      readonlyPaths: ['/proc/sys', '/proc/irq'],
    },
  };
  const create = async (config: PodSpec): Promise<string> => await createIn(cri, pod, config);
  const start = async (config: PodSpec): Promise<string> => await startIn(cri, pod, config);
  const remove = async (containerId: string): Promise<void> => {
    await cri.call('StopContainer', { containerId, timeout: 0 });
    await cri.call('RemoveContainer', { containerId });
  };
  /** The cgroup of a container's first process, in the hierarchy that limits memory. */
  const limitingCgroup = async (containerId: string): Promise<string> => {
    const pid = await pidOf(cri, containerId);
    const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
    return lines.find((line) => line.includes('memory')) ?? lines.join();
  };
  const shell = async (containerId: string, command: string): Promise<string> =>
    (await exec(cri, containerId, 'sh', '-c', command)).stdout;
  const logOf = (name: string): readonly string[] => {
    const file = `/var/log/pods/e2e_restored/${name}.log`;
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  };
  const counts = (name: string): readonly number[] =>
    logOf(name).map((line) => Number(line.split(' ').at(-1)));
  const countBeyond = async (name: string, limit: number): Promise<void> => {
    await eventually(`a count beyond ${limit}`, () =>
      counts(name).some((one) => one > limit) ? true : undefined,
    );
  };
  const refused = async (
    config: PodSpec,
    code: Parameters<typeof rejectsWith>[1],
    reason: RegExp,
  ): Promise<void> => {
    await rejectsWith(create(config), code, reason);
    assert.deepEqual(readdirSync('/var/lib/gantry/checkpoints'), []);
  };

  test('the counter goes on where it stood, in another container, with the files that it had', async () => {
    const stoodAt = Math.max(...counts('counter'));
    const id = await create(containerSpec('again', archive, { linux }));
    assert.equal((await statusOf(cri, id)).state, 'CONTAINER_CREATED');
    await cri.call('StartContainer', { containerId: id });
    await countBeyond('again', stoodAt + 3);
    // It was saved before the old one wrote its last line, never after.
    const first = counts('again')[0] ?? 0;
    assert.ok(first > 5 && first <= stoodAt + 1, `began at ${first}, the old one stood at ${stoodAt}`);
    assert.equal(
      await shell(id, 'cat /new/file; ls /etc/group 2>&1'),
      'changed\nls: /etc/group: No such file or directory',
    );
    const { status: sandbox } = await cri.call<{ status: { network: { ip: string } } }>('PodSandboxStatus', {
      podSandboxId: pod.id,
    });
    assert.equal(await shell(id, 'hostname; hostname -i'), `restored\n${sandbox.network.ip}`);
    // Masked and protected as in any container.
    const look =
      'cat /proc/keys; ls /sys/firmware; echo 1 2>/dev/null >/proc/sys/kernel/shm_rmid_forced || echo ro';
    assert.equal(await shell(id, look), 'ro');
    const status = await statusOf(cri, id);
    assert.equal(status.state, 'CONTAINER_RUNNING');
    assert.match(await limitingCgroup(id), new RegExp(`/${id}$`));
    await saveAndRestoreAgain(id);
    await remove(id);
    await assertNothingLeft(empty);
  });

  /** What a restored container had brought with it is in its own archive as well. */
  const saveAndRestoreAgain = async (containerId: string): Promise<void> => {
    const second = join(saved, 'second.tar');
    await shell(containerId, 'rm /new/file; echo newer > /new/other');
    await cri.call('CheckpointContainer', { containerId, location: second });
    const id = await start(containerSpec('third', second, { linux }));
    await countBeyond('third', Math.max(...counts('again')));
    assert.equal(
      await shell(id, 'cd /new; grep . *; ls /etc/group 2>&1'),
      'newer\nls: /etc/group: No such file or directory',
    );
    await remove(id);
  };

  test('its exit is seen, and its limits are those of the new request', async () => {
    const resources = { memoryLimitInBytes: '300000000' };
    const id = await start(containerSpec('ends', archive, { linux: { ...linux, resources } }));
    const limit = await shell(
      id,
      'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null',
    );
    assert.equal(Math.round(Number(limit) / 1e7), 30);
    await cri.call('StopContainer', { containerId: id, timeout: 0 });
    const status = await statusOf(cri, id);
    assert.deepEqual([status.state, status.exitCode], ['CONTAINER_EXITED', 137]);
    await remove(id);
    await assertNothingLeft(empty);
  });

  test('its oom_score_adj is its own, not that of the daemon', async () => {
    const daemon = `/proc/${node.daemon.pid}/oom_score_adj`;
    const before = readFileSync(daemon, 'utf8');
    writeFileSync(daemon, '300');
    try {
      const id = await start(containerSpec('scored', archive, { linux }));
      assert.equal(await shell(id, 'cat /proc/1/oom_score_adj'), '0');
      await remove(id);
    } finally {
      writeFileSync(daemon, before);
    }
    await assertNothingLeft(empty);
  });

  test('restores in several pods at once, some of which fail, do not take layers from each other', async () => {
    const pods = await Promise.all(
      ['first', 'second', 'other'].map(async (name) => await runPod(cri, `restored-${name}`)),
    );
    const tooLittle = { ...linux, securityContext: { ...linux.securityContext, noNewPrivs: true } };
    const one = async (where: StartedPod, attempt: number, isRefused: boolean): Promise<void> => {
      const config = containerSpec('at-once', archive, {
        linux: isRefused ? tooLittle : linux,
        metadata: { name: 'at-once', attempt },
      });
      const asked = createIn(cri, where, config);
      if (isRefused) await rejectsWith(asked, 'PERMISSION_DENIED', /can gain privileges/);
      else await cri.call('RemoveContainer', { containerId: await asked });
    };
    for (let attempt = 0; attempt < 8; attempt += 1)
      await Promise.all(pods.map(async (where, index) => await one(where, attempt, index === 2)));
    for (const { id } of pods) await removePod(cri, id);
    await assertNothingLeft(empty);
  });

  test('one that was never started is stopped and removed', async () => {
    const id = await create(containerSpec('unstarted', archive, { linux }));
    await cri.call('StopContainer', { containerId: id, timeout: 10 });
    assert.equal((await statusOf(cri, id)).state, 'CONTAINER_EXITED');
    await remove(id);
    await assertNothingLeft(empty);
  });

  test('a request that allows less than the checkpoint has is refused', async () => {
    const context = linux.securityContext;
    const asking = (more: object): object => ({
      linux: { ...linux, securityContext: { ...context, ...more } },
    });
    const cases: readonly [RegExp, object][] = [
      [/CAP_CHOWN/, asking({ capabilities: { dropCapabilities: ['CHOWN'] } })],
      [/runs as root, the request is for user 1000/, asking({ runAsUser: { value: '1000' } })],
      [/can gain privileges/, asking({ noNewPrivs: true })],
      [/is not ro, as the request has it/, asking({ readonlyRootfs: true })],
      [
        /"\/proc\/timer_list" is not protected/,
        asking({ maskedPaths: [...context.maskedPaths, '/proc/timer_list'] }),
      ],
      [
        /no mount at "\/data", the request has one/,
        { linux, mounts: [{ containerPath: '/data', hostPath: '/tmp' }] },
      ],
    ];
    for (const [reason, more] of cases)
      await refused(containerSpec('less', archive, { ...more }), 'PERMISSION_DENIED', reason);
    await assertNothingLeft(empty);
  });

  test('a checkpoint without the seccomp filter that the request asks for is refused', async () => {
    const { seccomp: _, ...unconfined } = linux.securityContext;
    const id = await create(
      containerSpec('bare', node.images.busybox, {
        command: ['sleep', '1000'],
        linux: { ...linux, securityContext: unconfined },
      }),
    );
    await cri.call('StartContainer', { containerId: id });
    const location = join(saved, 'bare.tar');
    await cri.call('CheckpointContainer', { containerId: id, location });
    await remove(id);
    await refused(containerSpec('bare', location, { linux }), 'PERMISSION_DENIED', /no seccomp filter/);
    await assertNothingLeft(empty);
  });

  test('archives that are none, lie elsewhere, or name an image that is not here (CVE-2026-50195)', async () => {
    writeFileSync(join(saved, 'text.tar'), 'this is no archive, only a text of some length\n'.repeat(40));
    symlinkSync('/etc/passwd', join(saved, 'link.tar'));
    const at = (image: string): PodSpec => containerSpec('wrong', image, { linux });
    await refused(at(join(saved, 'none.tar')), 'NOT_FOUND', /ENOENT/);
    await refused(at(join(saved, 'text.tar')), 'DATA_LOSS', /tar/);
    await refused(at(join(saved, 'link.tar')), 'PERMISSION_DENIED', /ELOOP|EXDEV/);
    await refused(at(`${saved}/../../../etc/passwd`), 'PERMISSION_DENIED', /lies in none of/);
    await refused(at('/etc/passwd'), 'PERMISSION_DENIED', /lies in none of/);
    const elsewhere = join(node.directory, 'unpacked');
    mkdirSync(elsewhere);
    execFileSync('tar', ['--extract', `--file=${archive}`, `--directory=${elsewhere}`]);
    const config = JSON.parse(readFileSync(join(elsewhere, 'config.dump'), 'utf8')) as object;
    const other = {
      ...config,
      rootfsImageRef: `sha256:${'0'.repeat(64)}`,
      rootfsImageName: 'a.example/b:c',
      rootfsImage: '',
    };
    writeFileSync(join(elsewhere, 'config.dump'), JSON.stringify(other));
    execFileSync('tar', [
      '--create',
      `--file=${join(saved, 'foreign.tar')}`,
      `--directory=${elsewhere}`,
      '.',
    ]);
    await refused(
      at(join(saved, 'foreign.tar')),
      'NOT_FOUND',
      /"a.example\/b:c" that the checkpoint was made of/,
    );
    const { images } = await cri.call<{ images: { repoTags: string[] }[] }>('ListImages');
    assert.ok(!images.some(({ repoTags }) => repoTags.join().includes('a.example')));
    await assertNothingLeft(empty);
  });

  test('nothing of the spec in an archive is taken (CVE-2026-53492)', async () => {
    const elsewhere = join(node.directory, 'with-spec');
    mkdirSync(elsewhere);
    execFileSync('tar', ['--extract', `--file=${archive}`, `--directory=${elsewhere}`]);
    const wish = { 'cdi.k8s.io/vendor': 'vendor.com/gpu=0', 'io.kubernetes.cri.untrusted': 'yes' };
    const mount = { destination: '/host', type: 'bind', source: '/', options: ['rbind'] };
    const changed = { annotations: wish, mounts: [mount], process: { capabilities: {} } };
    writeFileSync(join(elsewhere, 'spec.dump'), JSON.stringify(changed));
    const location = join(saved, 'with-spec.tar');
    execFileSync('tar', ['--create', `--file=${location}`, `--directory=${elsewhere}`, '.']);
    const id = await start(containerSpec('with-spec', location, { linux }));
    const { info } = await cri.call<{ info: Record<string, string> }>('ContainerStatus', {
      containerId: id,
      verbose: true,
    });
    assert.doesNotMatch(info['info'] ?? '', /vendor\.com|untrusted|"\/host"/);
    assert.equal(await shell(id, 'ls /host 2>&1'), 'ls: /host: No such file or directory');
    await remove(id);
  });

  test('a checkpoint in an image, by its annotation', async () => {
    const elsewhere = join(node.directory, 'for-image');
    mkdirSync(elsewhere);
    execFileSync('tar', ['--extract', `--file=${archive}`, `--directory=${elsewhere}`]);
    const files = ['config.dump', 'spec.dump', 'deleted.files', 'rootfs-diff.tar'];
    const images = readdirSync(join(elsewhere, 'checkpoint')).map((name) => `checkpoint/${name}`);
    const layer = await buildLayer(
      [...files, ...images].map((name) => ({ name, content: readFileSync(join(elsewhere, name)) })),
    );
    const annotations = { 'org.criu.checkpoint.container.name': 'counter' };
    const image = buildImage({ layers: [layer], config: {}, annotations });
    const { host } = node.registry;
    await pushImage({ registryUrl: `http://${host}`, repository: 'library/saved', tag: 'latest' }, image);
    const reference = `${host}/library/saved:latest`;
    await pull(cri, reference);
    const id = await start(containerSpec('pulled', reference, { linux }));
    await countBeyond('pulled', 5);
    await remove(id);
    await cri.call('RemoveImage', { image: { image: reference } });
    await assertNothingLeft(empty);
  });

  test('a restart of the daemon: one stands by, one runs', async () => {
    const waiting = await create(containerSpec('waiting', archive, { linux }));
    const running = await create(containerSpec('running', archive, { linux }));
    await cri.call('StartContainer', { containerId: running });
    await node.daemon.kill();
    await node.daemon.startAgain();
    assert.equal((await statusOf(cri, running)).state, 'CONTAINER_RUNNING');
    assert.equal((await statusOf(cri, waiting)).state, 'CONTAINER_CREATED');
    await cri.call('StartContainer', { containerId: waiting });
    await countBeyond('waiting', 5);
    await remove(waiting);
    await remove(running);
  });
});
