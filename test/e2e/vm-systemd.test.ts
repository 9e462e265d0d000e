// test-host: vm --systemd
// test-minutes: 15
/** `gantryd` as a unit of systemd, which makes the cgroups: slices and scopes, and restarts that touch no container. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startDockerRegistry, type DockerRegistry } from '../fixtures/docker-registry.ts';
import { CriClient } from './engine/cri-client.ts';
import { pushTestImages } from './engine/images.ts';
import {
  exec,
  pidOf,
  pull,
  removePod,
  runPod,
  startIn,
  type StartedPod,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import { isRunning, monitorOf } from './engine/processes.ts';
import { daemonLog, startUnit, systemctl, unitProperty } from './engine/systemd-unit.ts';
import { engineSkipReason } from './engine/test-node.ts';
import { eventually } from './engine/wait.ts';
import { idler } from './kubelet/containers.ts';
import { runInContainer, untilPod } from './kubelet/kubelet-api.ts';
import { KubeletProcess, kubeletSkipReason } from './kubelet/kubelet-process.ts';
import { containerOf, isReady, type Pod } from './kubelet/pod-status.ts';

const isSystemd = existsSync('/run/systemd/system') && process.env['GANTRY_TEST_HOST'] === 'vm';
const skip = isSystemd ? (engineSkipReason() ?? false) : 'needs systemd: run it below hack/vm --systemd';
/** Reads GANTRY_KUBELET. */
const kubeletSkip = kubeletSkipReason() ?? false;
const mebibyte = 1024 * 1024;
const slice = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice';
const signals = '/run/e2e-signals';
/** Lets everything be but one file. */
const ownProfile = `
profile e2e-own flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  network,
  signal,
  ptrace,
  deny /tmp/denied w,
}
`;

interface Stats {
  readonly memory: {
    readonly workingSetBytes: { readonly value: string };
    readonly availableBytes: { readonly value: string };
  };
  readonly cpu: { readonly usageCoreNanoSeconds: { readonly value: string } };
}

describe('gantryd as a unit of systemd', { skip }, () => {
  let registry: DockerRegistry;
  let cri: CriClient;
  let busybox = '';
  let pod: StartedPod;
  let ticker = '';

  before(async () => {
    registry = await startDockerRegistry();
    ({ busybox } = await pushTestImages(registry.host));
    mkdirSync(signals, { recursive: true });
    await startUnit();
    cri = new CriClient();
    await pull(cri, busybox);
    pod = await runPod(cri, 'sliced', { linux: { cgroupParent: slice } });
    const ticks = 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done';
    const resources = {
      memoryLimitInBytes: 32 * mebibyte,
      cpuShares: 512,
      cpuQuota: 50_000,
      cpuPeriod: 100_000,
    };
    ticker = await startIn(
      cri,
      pod,
      containerSpec('ticker', busybox, { command: ['sh', '-c', ticks], linux: { resources } }),
    );
  });
  after(async () => {
    cri[Symbol.dispose]();
    await registry[Symbol.asyncDispose]();
    console.log(daemonLog().split('\n').slice(-200).join('\n'));
  });

  const cgroupOf = (pid: number): string =>
    readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().slice('0::'.length);
  const limit = (id: string, file: string): string =>
    readFileSync(join('/sys/fs/cgroup', slice, scopeOf(id), 'container', file), 'utf8').trim();
  const scopeOf = (id: string): string => `cri-gantry-${id}.scope`;
  const ticks = (): number => readFileSync(`/var/log/pods/e2e_sliced/ticker.log`, 'utf8').split('\n').length;

  const assertMeasured = async (containerId: string, limitBytes: number): Promise<void> => {
    const { stats } = await cri.call<{ stats: Stats }>('ContainerStats', { containerId });
    const workingSet = Number(stats.memory.workingSetBytes.value);
    assert.ok(workingSet > 0);
    assert.equal(Number(stats.memory.availableBytes.value), limitBytes - workingSet);
    assert.ok(Number(stats.cpu.usageCoreNanoSeconds.value) > 0);
  };

  test('RuntimeConfig tells the kubelet that systemd makes the cgroups', async () => {
    const { linux } = await cri.call<{ linux: { cgroupDriver: string } }>('RuntimeConfig');
    assert.equal(linux.cgroupDriver, 'SYSTEMD');
  });

  test('a container is a scope in the slice of its pod, limited where systemd does not reach', async () => {
    assert.equal(cgroupOf(await pidOf(cri, ticker)), `${slice}/${scopeOf(ticker)}/container`);
    assert.equal(await unitProperty(scopeOf(ticker), 'Slice'), slice.split('/').at(-1));
    assert.equal(await unitProperty(scopeOf(ticker), 'Delegate'), 'yes');
    assert.equal(limit(ticker, 'memory.max'), String(32 * mebibyte));
    assert.equal(limit(ticker, 'cpu.max'), '50000 100000');
  });

  test('monitors live in the daemon’s unit, in a cgroup that is not the daemon’s own', async () => {
    const unit = '/system.slice/gantryd.service';
    assert.equal(cgroupOf(monitorOf(ticker)), `${unit}/monitors`);
    assert.equal(cgroupOf(Number(await unitProperty('gantryd.service', 'MainPID'))), unit);
  });

  test('an update reaches the cgroup, and stats come from it', async () => {
    const linux = { memoryLimitInBytes: 48 * mebibyte };
    await cri.call('UpdateContainerResources', { containerId: ticker, linux });
    assert.equal(limit(ticker, 'memory.max'), String(48 * mebibyte));
    assert.equal(limit(ticker, 'cpu.max'), '50000 100000');
    // systemd writes its own limits again when it is told to.
    await systemctl('daemon-reload');
    assert.equal(limit(ticker, 'memory.max'), String(48 * mebibyte));
    await assertMeasured(ticker, 48 * mebibyte);
  });

  test('with runc the scope itself has the limits, which systemd knows', async () => {
    const config = podSpec('runc', { linux: { cgroupParent: slice } });
    const { podSandboxId } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', {
      config,
      runtimeHandler: 'runc',
    });
    const resources = { memoryLimitInBytes: 32 * mebibyte };
    const idle = await startIn(
      cri,
      { id: podSandboxId, config },
      idleSpec('idle', busybox, { linux: { resources } }),
    );
    const path = `${slice}/${scopeOf(idle)}`;
    assert.equal(cgroupOf(await pidOf(cri, idle)), path);
    assert.equal(await unitProperty(scopeOf(idle), 'MemoryMax'), String(32 * mebibyte));
    const linux = { memoryLimitInBytes: 48 * mebibyte };
    await cri.call('UpdateContainerResources', { containerId: idle, linux });
    await systemctl('daemon-reload');
    assert.equal(await unitProperty(scopeOf(idle), 'MemoryMax'), String(48 * mebibyte));
    assert.equal(
      readFileSync(join('/sys/fs/cgroup', path, 'memory.max'), 'utf8').trim(),
      String(48 * mebibyte),
    );
    await assertMeasured(idle, 48 * mebibyte);
    await removePod(cri, podSandboxId);
  });

  test('a container that wants more memory than its limit ends OOMKilled, though its scope goes at once', async () => {
    const command = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=200M', 'count=1'];
    const linux = { resources: { memoryLimitInBytes: 16 * mebibyte } };
    const hungry = await startIn(cri, pod, containerSpec('hungry', busybox, { command, linux }));
    const { reason, exitCode } = await untilState(cri, hungry, 'CONTAINER_EXITED');
    assert.deepEqual({ reason, exitCode }, { reason: 'OOMKilled', exitCode: 137 });
    assert.equal(existsSync(join('/sys/fs/cgroup', slice, scopeOf(hungry))), false);
  });

  test('a restart of the unit leaves every container running, and the daemon takes them up again', async () => {
    const idle = await startIn(cri, pod, idleSpec('idle', busybox));
    const pids = [await pidOf(cri, ticker), await pidOf(cri, idle), monitorOf(ticker), monitorOf(idle)];
    const daemon = await unitProperty('gantryd.service', 'MainPID');
    await systemctl('restart', 'gantryd.service');
    assert.notEqual(await unitProperty('gantryd.service', 'MainPID'), daemon);
    assert.deepEqual(
      pids.filter((pid) => !isRunning(pid)),
      [],
    );
    for (const id of [ticker, idle]) assert.equal((await statusOf(cri, id)).state, 'CONTAINER_RUNNING');
    assert.equal((await exec(cri, idle, 'echo', 'still here')).stdout, 'still here');
  });

  test('while the unit is stopped containers go on, and what ends meanwhile is told afterwards', async () => {
    const wait = `while [ ! -e /signals/brief ]; do sleep 0.1; done; exit 7`;
    const brief = await startIn(
      cri,
      pod,
      containerSpec('brief', busybox, {
        command: ['sh', '-c', wait],
        mounts: [{ hostPath: signals, containerPath: '/signals', readonly: true }],
      }),
    );
    const pids = { ticker: await pidOf(cri, ticker), brief: await pidOf(cri, brief) };
    await systemctl('stop', 'gantryd.service');
    assert.equal(existsSync('/run/gantry/gantry.sock'), false);
    assert.ok(isRunning(pids.ticker) && isRunning(monitorOf(ticker)));
    const before = ticks();
    await eventually('the log to go on', () => (ticks() > before ? true : undefined));
    writeFileSync(join(signals, 'brief'), '');
    await eventually('the other container to end', () => (isRunning(pids.brief) ? undefined : true));
    await systemctl('start', 'gantryd.service');
    const { exitCode, reason } = await untilState(cri, brief, 'CONTAINER_EXITED');
    assert.deepEqual({ exitCode, reason }, { exitCode: 7, reason: 'Error' });
    assert.equal(await pidOf(cri, ticker), pids.ticker);
    assert.equal((await statusOf(cri, ticker)).state, 'CONTAINER_RUNNING');
  });

  test('a pod without a parent gets a slice of its own, which goes with it', async () => {
    const own = await runPod(cri, 'own', { linux: {} });
    const path = `/gantry.slice/gantry-pod${own.id}.slice`;
    const idle = await startIn(cri, own, idleSpec('idle', busybox));
    assert.ok(cgroupOf(await pidOf(cri, idle)).startsWith(`${path}/${scopeOf(idle)}`));
    await removePod(cri, own.id);
    assert.equal(existsSync(join('/sys/fs/cgroup', path)), false);
    const units = await systemctl('list-units', '--all', '--plain', '--no-legend', `gantry-pod${own.id}*`);
    assert.equal(units, '');
  });

  describe('the kubelet', { skip: kubeletSkip }, () => {
    const manifests = join(signals, 'manifests');
    let kubelet: KubeletProcess;

    before(async () => {
      mkdirSync(manifests);
      execFileSync('apparmor_parser', ['--replace', '--skip-cache'], { input: ownProfile });
      const config = { cgroupDriver: 'systemd', cgroupsPerQOS: true, enforceNodeAllocatable: ['pods'] };
      kubelet = await KubeletProcess.start(signals, manifests, config);
    });
    after(async () => await kubelet[Symbol.asyncDispose]());

    const addPod = (name: string, spec: object): void => {
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default' },
        spec: { terminationGracePeriodSeconds: 5, ...spec },
      };
      // The kubelet passes over names that begin with a dot: it never reads half a file.
      const draft = join(manifests, `.${name}.json`);
      writeFileSync(draft, JSON.stringify(pod));
      renameSync(draft, join(manifests, `${name}.json`));
    };
    const run = async (container: string, command: string): Promise<string> =>
      (await runInContainer('guaranteed', container, command)).trim();
    const imagePullPolicy = 'IfNotPresent';
    // What starts a container has no more time than the container: emulated, it wants some.
    const all = { cpu: '300m', memory: '32Mi' };
    const secured = (name: string, securityContext: object): object =>
      idler(busybox, name, { imagePullPolicy, securityContext, resources: { limits: all, requests: all } });

    test('runs a pod in its slices; a restart of the daemon is none of the pod', async () => {
      const resources = { requests: { cpu: '100m' }, limits: { memory: '64Mi' } };
      addPod('static', { containers: [idler(busybox, 'idle', { imagePullPolicy, resources })] });
      const first = await untilPod('static', 'it is ready', isReady);
      const running = containerOf(first, 'idle');
      const id = running.containerID?.replace(/^\w+:\/\//, '') ?? '';
      const cgroup = cgroupOf(await pidOf(cri, id));
      const parent = `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${first.metadata.uid.replaceAll('-', '_')}.slice`;
      assert.equal(cgroup, `${parent}/${scopeOf(id)}/container`);
      assert.equal(
        readFileSync(join('/sys/fs/cgroup', parent, 'memory.max'), 'utf8').trim(),
        String(64 * mebibyte),
      );
      await systemctl('restart', 'gantryd.service');
      const pid = await pidOf(cri, id);
      assert.equal(cgroupOf(pid), cgroup);
      // Until it has connected again.
      const said = await eventually(
        'the kubelet to run a command',
        async () => await runInContainer('static', 'idle', 'echo again').catch(() => undefined),
      );
      assert.equal(said.trim(), 'again');
      const later = containerOf(await untilPod('static', 'it is ready again', isReady), 'idle');
      assert.deepEqual([later.containerID, later.restartCount], [running.containerID, 0]);
      rmSync(join(manifests, 'static.json'));
      await eventually('the kubelet to end it', () =>
        existsSync(join('/sys/fs/cgroup', cgroup)) ? undefined : true,
      );
    });

    test('a guaranteed pod is spared by the OOM killer', async () => {
      addPod('guaranteed', {
        containers: [
          secured('usual', {}),
          secured('own', { appArmorProfile: { type: 'Localhost', localhostProfile: 'e2e-own' } }),
          secured('free', { appArmorProfile: { type: 'Unconfined' } }),
          secured('privileged', { privileged: true }),
        ],
      });
      await untilPod('guaranteed', 'it is ready', isReady);
      assert.equal(await run('usual', 'cat /proc/1/oom_score_adj'), '-997');
      assert.equal(await run('usual', 'cat /proc/self/oom_score_adj'), '-997');
    });

    test('AppArmor: the default profile, one of the node’s, and none', async () => {
      await untilPod('guaranteed', 'it is ready', isReady);
      const profile = async (name: string): Promise<string> => await run(name, 'cat /proc/1/attr/current');
      assert.equal(await profile('usual'), 'cri-gantry.apparmor.d (enforce)');
      assert.equal(await profile('own'), 'e2e-own (enforce)');
      assert.equal(await run('own', 'cat /proc/self/attr/current'), 'e2e-own (enforce)');
      await assert.rejects(run('own', 'touch /tmp/denied'), /Permission denied/);
      await run('own', 'touch /tmp/allowed');
      assert.equal(await profile('free'), 'unconfined');
      assert.equal(await profile('privileged'), 'unconfined');
    });

    test('a profile that the node does not have is named in the pod’s status', async () => {
      const appArmorProfile = { type: 'Localhost', localhostProfile: 'e2e-unknown' };
      addPod('unknown-profile', {
        containers: [idler(busybox, 'main', { imagePullPolicy, securityContext: { appArmorProfile } })],
      });
      const waiting = ({ status }: Pod): boolean =>
        status.containerStatuses?.[0]?.state.waiting?.reason === 'CreateContainerError';
      const pod = await untilPod('unknown-profile', 'waits', waiting);
      assert.match(containerOf(pod, 'main').state.waiting?.message ?? '', /e2e-unknown/);
    });

    test('a pod that is taken away takes its slice along', async () => {
      const { metadata } = await untilPod('guaranteed', 'is known', () => true);
      const podSlice = `/sys/fs/cgroup/kubepods.slice/kubepods-pod${metadata.uid.replaceAll('-', '_')}.slice`;
      assert.ok(existsSync(podSlice));
      for (const file of readdirSync(manifests)) rmSync(join(manifests, file));
      await eventually('the slice to go', () => (existsSync(podSlice) ? undefined : true));
    });
  });

  test('no scope is left of a removed pod', async () => {
    await removePod(cri, pod.id);
    assert.equal(await systemctl('list-units', '--all', '--plain', '--no-legend', 'cri-gantry-*'), '');
  });
});
