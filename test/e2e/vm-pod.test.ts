// test-host: vm
// test-minutes: 15
/** Pods where cgroup v2 is alone, AppArmor is on and no capability is missing; then the drivers' own tests, and networks with VLANs and SCTP, in the same boot. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CriClient, rejectsWith } from './engine/cri-client.ts';
import { criuSkipReason } from './engine/criu.ts';
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
  untilFile,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec, type PodSpec } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import '../integration/cgroups.test.ts';
import '../integration/cni-vlan-sctp.test.ts';
import '../integration/rtnetlink.test.ts';
import '../integration/rtnetlink-vlans.test.ts';
import '../integration/stats.test.ts';

const skip =
  process.env['GANTRY_TEST_HOST'] === 'vm'
    ? (engineSkipReason() ?? false)
    : 'needs cgroup v2: run it below hack/vm';
const noCriu = skip === false ? (criuSkipReason() ?? false) : skip;
const saved = '/var/lib/saved';
const mebibyte = 1024 * 1024;
const cgroupRoot = '/sys/fs/cgroup';

interface Psi {
  readonly Full: { readonly Total: string };
  readonly Some: { readonly Total: string };
}

interface Stats {
  readonly cpu: { readonly usageCoreNanoSeconds: { readonly value: string }; readonly psi: Psi | null };
  readonly memory: {
    readonly workingSetBytes: { readonly value: string };
    readonly availableBytes: { readonly value: string };
    readonly psi: Psi | null;
  };
  readonly swap: { readonly swapUsageBytes: { readonly value: string } } | null;
  readonly io: { readonly psi: Psi | null } | null;
}

interface Metric {
  readonly name: string;
  readonly labelValues: readonly string[];
  readonly value: { readonly value: string };
}

describe('a pod on cgroup v2', { skip }, () => {
  let node: TestNode;
  let cri: CriClient;
  let empty: NodeState;
  let pod: StartedPod;
  let limited = '';
  const resources = {
    memoryLimitInBytes: 32 * mebibyte,
    memorySwapLimitInBytes: 48 * mebibyte,
    cpuShares: 512,
    cpuQuota: 50_000,
    cpuPeriod: 100_000,
    cpusetCpus: '0',
    oomScoreAdj: -500,
    hugepageLimits: [{ pageSize: '2MB', limit: 4 * mebibyte }],
    unified: { 'memory.high': String(28 * mebibyte), 'pids.max': '100' },
  };

  before(async () => {
    // As the kernel hands it over: no controller is passed down from the root.
    const passedDown = read(cgroupRoot, 'cgroup.subtree_control').split(' ');
    writeFileSync(join(cgroupRoot, 'cgroup.subtree_control'), passedDown.map((name) => `-${name}`).join(' '));
    mkdirSync(saved, { mode: 0o700 });
    node = await startTestNode(`[checkpoints]\nrestore_directories = ["${saved}"]\n`);
    cri = new CriClient();
    await pull(cri, node.images.busybox);
    empty = nodeState();
    pod = await runPod(cri, 'limited');
    limited = await startIn(cri, pod, idle('limited', { resources }));
  });
  after(async () => {
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  const idle = (name: string, linux: Readonly<Record<string, unknown>> = {}): PodSpec =>
    idleSpec(name, node.images.busybox, { linux });
  const cgroupOf = async (id: string): Promise<string> => {
    const line = readFileSync(`/proc/${await pidOf(cri, id)}/cgroup`, 'utf8').trim();
    return join(cgroupRoot, line.slice('0::'.length));
  };
  const read = (cgroup: string, file: string): string => readFileSync(join(cgroup, file), 'utf8').trim();

  test('its cgroup lies below the pod’s, and has every limit that was asked for', async () => {
    const cgroup = await cgroupOf(limited);
    assert.equal(cgroup, join(cgroupRoot, 'gantry', pod.id, limited));
    const files = {
      'memory.max': String(32 * mebibyte),
      'memory.swap.max': String(16 * mebibyte),
      'memory.high': String(28 * mebibyte),
      'cpu.max': '50000 100000',
      'cpu.weight': '20',
      'cpuset.cpus': '0',
      'pids.max': '100',
      'hugetlb.2MB.max': String(4 * mebibyte),
    };
    for (const [file, value] of Object.entries(files)) assert.equal(read(cgroup, file), value, file);
    const pid = await pidOf(cri, limited);
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '-500');
  });

  test('its monitor lies in none of the pod’s cgroups', async () => {
    const monitors = read(join(cgroupRoot, 'gantry/monitors'), 'cgroup.procs').split('\n');
    assert.ok(monitors.length > 0 && monitors[0] !== '');
    assert.equal(read(join(cgroupRoot, 'gantry', pod.id), 'cgroup.procs'), '');
  });

  test('it is confined by the engine’s AppArmor profile, processes that are executed in it too', async () => {
    const profile = 'cri-gantry.apparmor.d (enforce)';
    const pid = await pidOf(cri, limited);
    assert.equal(readFileSync(`/proc/${pid}/attr/current`, 'utf8').trim(), profile);
    assert.equal((await exec(cri, limited, 'cat', '/proc/self/attr/current')).stdout, profile);
    const may = { capabilities: { addCapabilities: ['SYS_ADMIN'] } };
    const admin = await startIn(cri, pod, idle('admin', { securityContext: may }));
    assert.notEqual((await exec(cri, admin, 'mount', '-t', 'tmpfs', 'none', '/tmp')).exitCode, 0);
    const free = { ...may, apparmor: { profileType: 'Unconfined' } };
    const unconfined = await startIn(cri, pod, idle('unconfined', { securityContext: free }));
    assert.equal((await exec(cri, unconfined, 'cat', '/proc/self/attr/current')).stdout, 'unconfined');
    assert.equal((await exec(cri, unconfined, 'mount', '-t', 'tmpfs', 'none', '/tmp')).exitCode, 0);
  });

  test('a profile that is not loaded is refused by name', async () => {
    const apparmor = { profileType: 'Localhost', localhostRef: 'no-such-profile' };
    const spec = idle('refused', { securityContext: { apparmor } });
    await rejectsWith(createIn(cri, pod, spec), 'FAILED_PRECONDITION', /no-such-profile/);
  });

  test('stats have memory, swap and the pressure on each resource', async () => {
    const { stats } = await cri.call<{ stats: Stats }>('ContainerStats', { containerId: limited });
    const workingSet = Number(stats.memory.workingSetBytes.value);
    assert.ok(workingSet > 0 && workingSet < 32 * mebibyte, String(workingSet));
    assert.equal(Number(stats.memory.availableBytes.value), 32 * mebibyte - workingSet);
    assert.ok(Number(stats.cpu.usageCoreNanoSeconds.value) > 0);
    assert.equal(stats.swap?.swapUsageBytes.value, '0');
    for (const psi of [stats.cpu.psi, stats.memory.psi, stats.io?.psi])
      assert.match(psi?.Some.Total ?? '', /^\d+$/);
    const { stats: ofPod } = await cri.call<{
      stats: { linux: Stats & { process: { processCount: { value: string } } } };
    }>('PodSandboxStats', { podSandboxId: pod.id });
    assert.ok(Number(ofPod.linux.memory.workingSetBytes.value) >= workingSet);
    assert.ok(Number(ofPod.linux.process.processCount.value) >= 1);
    assert.ok(ofPod.linux.cpu.psi && ofPod.linux.memory.psi && ofPod.linux.io?.psi);
  });

  test('metrics have what only cgroup v2 counts', async () => {
    const { podMetrics } = await cri.call<{
      podMetrics: { podSandboxId: string; containerMetrics: { containerId: string; metrics: Metric[] }[] }[];
    }>('ListPodSandboxMetrics');
    const ofPod = podMetrics.find(({ podSandboxId }) => podSandboxId === pod.id);
    const metrics = ofPod?.containerMetrics.find(({ containerId }) => containerId === limited)?.metrics ?? [];
    const value = (name: string): number =>
      Number(metrics.find((one) => one.name === name)?.value.value ?? Number.NaN);
    assert.equal(value('container_spec_memory_limit_bytes'), 32 * mebibyte);
    assert.equal(value('container_spec_cpu_quota'), 50_000);
    assert.equal(value('container_threads_max'), 100);
    assert.ok(value('container_threads') >= 2);
    assert.equal(value('container_oom_events_total'), 0);
    for (const name of ['cpu', 'memory', 'io'])
      assert.ok(value(`container_pressure_${name}_waiting_seconds_total`) >= 0, name);
    assert.ok(value('container_hugetlb_usage_bytes') >= 0);
  });

  test('an update changes what it names, in place', async () => {
    const linux = {
      memoryLimitInBytes: 40 * mebibyte,
      memorySwapLimitInBytes: 40 * mebibyte,
      cpuShares: 1024,
    };
    await cri.call('UpdateContainerResources', { containerId: limited, linux });
    const cgroup = await cgroupOf(limited);
    const files = {
      'memory.max': String(40 * mebibyte),
      'memory.swap.max': '0',
      'memory.high': String(28 * mebibyte),
      'cpu.weight': '39',
      'cpu.max': '50000 100000',
      'pids.max': '100',
    };
    for (const [file, value] of Object.entries(files)) assert.equal(read(cgroup, file), value, file);
  });

  test('an update of which the kernel refuses one part changes nothing', async () => {
    const cgroup = await cgroupOf(limited);
    const linux = { memoryLimitInBytes: 50 * mebibyte, cpuQuota: 70_000, unified: { 'memory.high': 'much' } };
    const update = cri.call('UpdateContainerResources', { containerId: limited, linux });
    await rejectsWith(update, 'INVALID_ARGUMENT', /memory\.high/);
    assert.equal(read(cgroup, 'memory.max'), String(40 * mebibyte));
    assert.equal(read(cgroup, 'memory.high'), String(28 * mebibyte));
    assert.equal(read(cgroup, 'cpu.max'), '50000 100000');
    await cri.call('UpdateContainerResources', {
      containerId: limited,
      linux: { cpuQuota: -1, cpuPeriod: 100_000 },
    });
    assert.equal(read(cgroup, 'cpu.max'), 'max 100000');
    assert.equal(read(cgroup, 'memory.max'), String(40 * mebibyte));
  });

  test('a container that wants more memory than its limit ends OOMKilled', async () => {
    const command = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=200M', 'count=1'];
    const hungry = await startIn(
      cri,
      pod,
      containerSpec('hungry', node.images.busybox, {
        command,
        linux: { resources: { memoryLimitInBytes: 16 * mebibyte } },
      }),
    );
    const { reason, exitCode } = await untilState(cri, hungry, 'CONTAINER_EXITED');
    assert.deepEqual({ reason, exitCode }, { reason: 'OOMKilled', exitCode: 137 });
  });

  test('memory.oom.group takes the whole container with one of its processes', async () => {
    const hungry = 'dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1000';
    const group = await startIn(
      cri,
      pod,
      containerSpec('group', node.images.busybox, {
        command: ['sh', '-c', hungry],
        linux: { resources: { memoryLimitInBytes: 16 * mebibyte, unified: { 'memory.oom.group': '1' } } },
      }),
    );
    const { reason, exitCode } = await untilState(cri, group, 'CONTAINER_EXITED');
    assert.deepEqual({ reason, exitCode }, { reason: 'OOMKilled', exitCode: 137 });
  });

  test('stopping ends a tree that hides from signals, and its cgroup goes', async () => {
    const command = [
      'sh',
      '-c',
      'trap "" TERM; setsid sh -c "trap : TERM; touch /deaf; sleep 1000; sleep 1000" & sleep 1000; sleep 1000',
    ];
    const stubborn = await startIn(cri, pod, containerSpec('stubborn', node.images.busybox, { command }));
    await untilFile(cri, stubborn, '/deaf');
    const cgroup = await cgroupOf(stubborn);
    await cri.call('StopContainer', { containerId: stubborn, timeout: 1 });
    const { exitCode } = await untilState(cri, stubborn, 'CONTAINER_EXITED');
    assert.equal(exitCode, 137);
    assert.equal(existsSync(cgroup), false);
  });

  test('a restored container has cgroup, limits and profile of its request', { skip: noCriu }, async () => {
    const config = podSpec('restored');
    const request = { config, runtimeHandler: 'runc' };
    const { podSandboxId: id } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', request);
    // Else its processes would need the same numbers in the pod.
    const securityContext = { namespaceOptions: { pid: 'CONTAINER' } };
    const first = await startIn(cri, { id, config }, idle('first', { securityContext }));
    const location = join(saved, 'first.tar');
    await cri.call('CheckpointContainer', { containerId: first, location });
    const larger = { memoryLimitInBytes: 40 * mebibyte };
    const linux = { securityContext, resources: larger };
    const second = await startIn(cri, { id, config }, idleSpec('second', location, { linux }));
    const cgroup = await cgroupOf(second);
    assert.equal(cgroup, join(cgroupRoot, 'gantry', id, second));
    assert.equal(read(cgroup, 'memory.max'), String(40 * mebibyte));
    const current = readFileSync(`/proc/${await pidOf(cri, second)}/attr/current`, 'utf8').trim();
    assert.equal(current, 'cri-gantry.apparmor.d (enforce)');
    assert.equal((await exec(cri, second, 'cat', '/proc/1/cgroup')).stdout, '0::/');
    // Saving asks for all processes of the cgroup.
    await cri.call('CheckpointContainer', { containerId: second, location: join(saved, 'second.tar') });
    await removePod(cri, id);
  });

  test('a parent that the caller names is filled, and neither limited nor removed', async () => {
    const parent = join(cgroupRoot, 'kubepods/burstable/pod1');
    mkdirSync(parent, { recursive: true });
    for (const directory of ['kubepods', 'kubepods/burstable', 'kubepods/burstable/pod1'])
      writeFileSync(
        join(cgroupRoot, directory, 'cgroup.subtree_control'),
        '+cpu +memory +pids +io +cpuset +hugetlb',
      );
    writeFileSync(join(parent, 'memory.max'), String(64 * mebibyte));
    const named = await runPod(cri, 'named', { linux: { cgroupParent: '/kubepods/burstable/pod1' } });
    const inside = await startIn(cri, named, idle('inside'));
    assert.equal(await cgroupOf(inside), join(parent, inside));
    await removePod(cri, named.id);
    assert.equal(read(parent, 'memory.max'), String(64 * mebibyte));
    for (const directory of [parent, join(parent, '..'), join(parent, '../..')]) rmdirSync(directory);
  });

  test('nothing is left of it', async () => {
    await removePod(cri, pod.id);
    await assertNothingLeft(empty);
  });
});
