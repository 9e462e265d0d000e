/** What a container may ask for beyond its program: stop signals, the groups of its user, devices of vendors (CDI). */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { describeNode } from './engine/describe-node.ts';
import { pushBusyboxVariant } from './engine/images.ts';
import { exec, pull, removePod, runPod, startIn, type StartedPod, statusOf } from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

describeNode('what containers ask for', {}, ({ cri, node, assertEmpty }) => {
  let pod: StartedPod;
  let busybox: string;

  before(async () => {
    ({ busybox } = node.images);
    pod = await runPod(cri, 'asking');
  });

  const run = async (id: string, script: string): Promise<string> =>
    (await exec(cri, id, 'sh', '-c', script)).stdout.trim();

  test('stop signals: the request’s, else the image’s, else SIGTERM', async () => {
    const config = { StopSignal: 'SIGRTMIN+3' };
    const image = await pushBusyboxVariant(node.registry.host, 'library/stops', { config });
    await pull(cri, image);
    // The first process hears only of signals that it handles.
    const traps = [10, 15, 37].map((signal) => `trap "exit ${signal}" ${signal};`).join(' ');
    const command = ['sh', '-c', `${traps} echo ready; while :; do sleep 0.1; done`];
    const cases: readonly [name: string, more: object, told: string, exitCode: number][] = [
      ['plain', { image: { image: busybox } }, 'SIGTERM', 15],
      ['image', {}, 'SIGRTMINPLUS3', 37],
      ['asked', { stopSignal: 'SIGUSR1' }, 'SIGUSR1', 10],
    ];
    for (const [name, more, told, exitCode] of cases) {
      const containerId = await startIn(cri, pod, containerSpec(name, image, { command, ...more }));
      const log = `/var/log/pods/e2e_asking/${name}.log`;
      await eventually('its traps', () => (readFileSync(log, 'utf8').includes('ready') ? true : undefined));
      const { status } = await cri.call<{ status: { stopSignal: string } }>('ContainerStatus', {
        containerId,
      });
      assert.equal(status.stopSignal, told);
      await cri.call('StopContainer', { containerId, timeout: 20 });
      assert.equal((await statusOf(cri, containerId)).exitCode, exitCode, told);
    }
  });

  test('supplementary groups: the image’s are added, or not', async () => {
    const entries = [
      { name: 'etc/passwd', content: 'root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n' },
      { name: 'etc/group', content: 'root:x:0:\nme:x:1000:\nmine:x:50000:me\n' },
    ];
    const image = await pushBusyboxVariant(node.registry.host, 'library/groups', { entries });
    await pull(cri, image);
    for (const [policy, groups] of [
      ['Merge', ['1000', '4000', '50000']],
      ['Strict', ['1000', '4000']],
    ] as const) {
      const securityContext = {
        runAsUser: { value: 1000 },
        supplementalGroups: [4000],
        supplementalGroupsPolicy: policy,
      };
      const id = await startIn(
        cri,
        pod,
        idleSpec(policy.toLowerCase(), image, { linux: { securityContext } }),
      );
      assert.deepEqual((await run(id, 'id -G')).split(' ').toSorted(), groups);
      const { status } = await cri.call<{
        status: { user: { linux: { uid: string; gid: string; supplementalGroups: string[] } } };
      }>('ContainerStatus', { containerId: id });
      const { uid, gid, supplementalGroups } = status.user.linux;
      assert.deepEqual([uid, gid, supplementalGroups.toSorted()], ['1000', '1000', groups]);
    }
  });

  for (const mapped of [false, true]) {
    test(`CDI${mapped ? ' in a user namespace' : ''}: a device, a variable and a mount by one name`, async () => {
      const shown = join(node.directory, 'shown');
      writeFileSync(shown, 'shown');
      mkdirSync('/var/run/cdi', { recursive: true });
      const edits = {
        env: ['VENDOR=here'],
        deviceNodes: [{ path: '/dev/vendor/zero', hostPath: '/dev/zero', permissions: 'r' }],
        mounts: [{ hostPath: shown, containerPath: '/opt/vendor/shown', options: ['bind', 'ro'] }],
      };
      const devices = [{ name: 'one', containerEdits: edits }];
      const spec = { cdiVersion: '0.6.0', kind: 'vendor.example/zero', devices };
      writeFileSync('/var/run/cdi/vendor.json', JSON.stringify(spec));
      const range = [{ containerId: 0, hostId: 131_072, length: 65_536 }];
      const usernsOptions = { mode: 'POD', uids: range, gids: range };
      const securityContext = {
        namespaceOptions: { pid: 'CONTAINER', ...(mapped ? { usernsOptions } : {}) },
      };
      const own = await runPod(cri, `cdi-${mapped}`, { linux: { securityContext } });
      const CDIDevices = [{ name: 'vendor.example/zero=one' }];
      const id = await startIn(
        cri,
        own,
        idleSpec('main', busybox, { CDIDevices, linux: { securityContext } }),
      );
      assert.equal(await run(id, 'echo $VENDOR; cat /opt/vendor/shown'), 'here\nshown');
      assert.equal(await run(id, 'head -c 4 /dev/vendor/zero | od -An -tx1'), '00 00 00 00');
      await removePod(cri, own.id);
    });
  }

  for (const runtimeHandler of ['crun', 'runc'])
    test(`${runtimeHandler}: of an update that the kernel refuses in part nothing is in force, also where there was no limit before`, async () => {
      const config = podSpec(`updated-${runtimeHandler}`);
      const { podSandboxId: id } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', {
        config,
        runtimeHandler,
      });
      const idle = await startIn(cri, { id, config }, idleSpec('idle', busybox));
      const v1 =
        'cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus memory/memory.*limit_in_bytes';
      const v2 = 'cpu.weight cpu.max cpuset.cpus memory.max memory.swap.max';
      const limits = async (): Promise<string> =>
        await run(idle, `cd /sys/fs/cgroup; grep . ${v1} ${v2} 2>/dev/null`);
      const before = await limits();
      const linux = { cpuShares: 2, cpuQuota: 50_000, cpuPeriod: 50_000, memoryLimitInBytes: 64 * 2 ** 20 };
      const refused = { ...linux, cpusetCpus: '4000' };
      await assert.rejects(cri.call('UpdateContainerResources', { containerId: idle, linux: refused }));
      assert.equal(await limits(), before);
      await cri.call('UpdateContainerResources', { containerId: idle, linux });
      assert.notEqual(await limits(), before);
      await removePod(cri, id);
    });

  for (const runtimeHandler of ['crun', 'runc'])
    test(`${runtimeHandler}: limits of CPU and memory are taken away in place`, async () => {
      const config = podSpec(`unlimited-${runtimeHandler}`);
      const { podSandboxId: id } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', {
        config,
        runtimeHandler,
      });
      const resources = { cpuQuota: 50_000, cpuPeriod: 100_000, memoryLimitInBytes: 64 * 2 ** 20 };
      const idle = await startIn(cri, { id, config }, idleSpec('idle', busybox, { linux: { resources } }));
      const limit = async (v1: string, v2: string): Promise<string> =>
        await run(idle, `cd /sys/fs/cgroup; cat ${v1} ${v2} 2>/dev/null`);
      const quota = async () => await limit('cpu/cpu.cfs_quota_us', 'cpu.max');
      assert.match(await quota(), /^50000\b/);
      await cri.call('UpdateContainerResources', { containerId: idle, linux: { cpuQuota: -1 } });
      assert.match(await quota(), /^(?:-1|max 100000)$/);
      await cri.call('UpdateContainerResources', { containerId: idle, linux: { memoryLimitInBytes: -1 } });
      assert.match(
        await limit('memory/memory.limit_in_bytes', 'memory.max'),
        /^(?:9223372036854771712|max)$/,
      );
      await cri.call('UpdateContainerResources', { containerId: idle, linux: { cpuQuota: 20_000 } });
      assert.match(await quota(), /^20000\b/);
      await startIn(
        cri,
        { id, config },
        idleSpec('free', busybox, { linux: { resources: { cpuQuota: -1 } } }),
      );
      await removePod(cri, id);
    });

  test('nothing is left', async () => {
    await removePod(cri, pod.id);
    for (const name of ['stops', 'groups'])
      await cri.call('RemoveImage', { image: { image: `${node.registry.host}/library/${name}:latest` } });
    await assertEmpty();
  });
});
