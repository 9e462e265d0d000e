/** Plugins on NRI's own library: what they are told is true, and what they ask for is done. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { describe, test } from 'node:test';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { NriPlugin, nriPluginSkipReason } from './engine/nri-plugin.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  pidOf,
  removePod,
  runPod,
  startIn,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';
import type { PodStatus } from './engine/wire.ts';

const skip = nriPluginSkipReason() ?? false;
/** Nothing here is about time: a busy machine may take its own. */
const toml = '[nri]\nplugin_registration_timeout_seconds = 60\nplugin_request_timeout_seconds = 60\n';

describeNode('NRI', { toml, isEmptiedAfterEach: true, timeoutMs: 300_000 }, ({ cri, node }) => {
  const image = (): string => node.images.busybox;

  describe('what plugins are told', { skip }, () => {
    test('the life of a pod and its container, in order, each event once', async () => {
      await using plugin = await NriPlugin.start('00', 'watch');
      const pod = await runPod(cri, 'told');
      const id = await startIn(cri, pod, idleSpec('idle', image()));
      await cri.call('UpdateContainerResources', { containerId: id, linux: { cpuShares: '512' } });
      await cri.call('UpdatePodSandboxResources', {
        podSandboxId: pod.id,
        overhead: {},
        resources: { cpuShares: '1024' },
      });
      await cri.call('StopContainer', { containerId: id, timeout: '5' });
      await cri.call('StopContainer', { containerId: id, timeout: '5' });
      await cri.call('RemoveContainer', { containerId: id });
      await removePod(cri, pod.id);
      await plugin.until('RemovePodSandbox');
      assert.deepEqual(plugin.eventsOf(id), [
        'CreateContainer',
        'PostCreateContainer',
        'StartContainer',
        'PostStartContainer',
        'UpdateContainer',
        'PostUpdateContainer',
        'StopContainer',
        'RemoveContainer',
      ]);
      assert.deepEqual(plugin.eventsOf(pod.id), [
        'RunPodSandbox',
        'UpdatePodSandbox',
        'PostUpdatePodSandbox',
        'StopPodSandbox',
        'RemovePodSandbox',
      ]);
      const { resources } = await plugin.until('UpdatePodSandbox');
      assert.deepEqual(resources?.['cpu'], { shares: { value: '1024' } });
    });

    test('a pod as it is: its names, addresses, namespaces and cgroup', async () => {
      await using plugin = await NriPlugin.start('00', 'watch');
      const pod = await runPod(cri, 'seen');
      const { pod: view } = await plugin.until('RunPodSandbox');
      assert.ok(view);
      const { status, info } = await cri.call<{ status: PodStatus; info: { info: string } }>(
        'PodSandboxStatus',
        { podSandboxId: pod.id, verbose: true },
      );
      const { runtimeHandler, pid } = JSON.parse(info.info) as { runtimeHandler: string; pid: number };
      const { linux, ...plain } = view as typeof view & {
        linux: { namespaces: { type: string; path: string }[] };
      };
      assert.deepEqual(plain, {
        id: pod.id,
        name: 'seen',
        uid: 'uid-seen',
        namespace: 'e2e',
        labels: { app: 'seen' },
        annotations: { 'e2e.test/note': 'made for seen' },
        runtimeHandler,
        // What holds the PID namespace that its containers share.
        pid,
        ips: [status.network.ip],
      });
      assert.deepEqual(linux.namespaces.map(({ type }) => type).toSorted(), ['ipc', 'network', 'pid', 'uts']);
      for (const { path } of linux.namespaces) assert.ok(existsSync(path), path);
      assert.match(runtimeHandler, /^(crun|runc)$/);
      assert.ok(pid > 1 && existsSync(`/proc/${pid}`));
    });

    test('a container as it is: process, state, user, limits, mounts, variables, cgroup', async () => {
      await using plugin = await NriPlugin.start('00', 'watch');
      const pod = await runPod(cri, 'true-view');
      const id = await startIn(
        cri,
        pod,
        idleSpec('idle', image(), {
          envs: [{ key: 'MODE', value: Buffer.from('a=b') }],
          annotations: { note: 'mine' },
          mounts: [{ hostPath: '/etc', containerPath: '/host-etc', readonly: true }],
          linux: {
            resources: { memoryLimitInBytes: String(64 * 1024 * 1024), cpuShares: '300', oomScoreAdj: '700' },
            securityContext: { runAsUser: { value: '1000' }, runAsGroup: { value: '2000' } },
          },
        }),
      );
      const { container: view } = await plugin.until('PostStartContainer');
      assert.ok(view);
      const pid = await pidOf(cri, id);
      assert.equal(view['pid'], pid);
      assert.equal(view['state'], 'CONTAINER_RUNNING');
      assert.equal(view['podSandboxId'], pod.id);
      assert.deepEqual(view['user'], { uid: 1000, gid: 2000, additionalGids: [2000] });
      assert.ok((view['env'] as string[]).includes('MODE=a=b'));
      assert.equal((view['annotations'] as Record<string, string>)['note'], 'mine');
      assert.ok(
        (view['mounts'] as { destination: string }[]).some(({ destination }) => destination === '/host-etc'),
      );
      const linux = view['linux'] as {
        readonly cgroupsPath: string;
        readonly oomScoreAdj: { readonly value: string };
        readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
        readonly resources: {
          readonly memory: { readonly limit: object };
          readonly cpu: { readonly shares: object };
        };
      };
      assert.ok(readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(linux.cgroupsPath));
      assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), linux.oomScoreAdj.value);
      assert.deepEqual(linux.resources.memory.limit, { value: String(64 * 1024 * 1024) });
      assert.deepEqual(linux.resources.cpu.shares, { value: '300' });
      const network = linux.namespaces.find(({ type }) => type === 'network');
      assert.ok(network?.path !== undefined);
      assert.equal(readlinkSync(`/proc/${pid}/ns/net`), `net:[${statSync(network.path).ino}]`);
    });

    test('a container that ends by itself, with its exit code', async () => {
      await using plugin = await NriPlugin.start('00', 'watch');
      const pod = await runPod(cri, 'ends');
      const id = await startIn(
        cri,
        pod,
        containerSpec('seven', image(), { command: ['sh', '-c', 'exit 7'] }),
      );
      const { container: view } = await plugin.until('StopContainer');
      assert.equal(view?.id, id);
      assert.equal(view['exitCode'], 7);
      assert.equal(view['state'], 'CONTAINER_STOPPED');
      assert.equal(view['statusReason'], 'Error');
    });

    test('what exists when it joins, also after the daemon was started again', async () => {
      const pod = await runPod(cri, 'before');
      const running = await startIn(cri, pod, idleSpec('running', image()));
      const created = await createIn(cri, pod, idleSpec('created', image()));
      const gone = await startIn(cri, pod, containerSpec('gone', image(), { command: ['true'] }));
      await untilState(cri, gone, 'CONTAINER_EXITED');
      await node.daemon.kill();
      await node.daemon.startAgain();
      await using plugin = await NriPlugin.start('00', 'late');
      const { pods, containers = [] } = await plugin.until('Synchronize');
      assert.deepEqual(pods, [pod.id]);
      assert.deepEqual(
        new Map(containers.map((view) => [view.id, view['state']])),
        new Map([
          [running, 'CONTAINER_RUNNING'],
          [created, 'CONTAINER_CREATED'],
        ]),
      );
      const [view] = containers.filter(({ id }) => id === running);
      assert.ok(view);
      assert.deepEqual((view['args'] as string[]).slice(0, 2), ['sh', '-c']);
    });

    test('of containers that are made while plugins come and go, every one exactly once', async () => {
      const pod = await runPod(cri, 'busy');
      let isOver = false;
      const made: string[] = [];
      const maker = async (who: number): Promise<void> => {
        for (let count = 0; !isOver; count += 1)
          made.push(await createIn(cri, pod, idleSpec(`c${who}-${count}`, image())));
      };
      const makers = [0, 1, 2].map(async (who) => await maker(who));
      await using stack = new AsyncDisposableStack();
      const plugins: NriPlugin[] = [];
      for (const index of ['00', '10', '20', '30']) {
        plugins.push(stack.use(await NriPlugin.start(index, 'joins')));
        const before = made.length;
        await eventually('more containers', () => (made.length > before + 3 ? true : undefined));
      }
      isOver = true;
      await Promise.all(makers);
      for (const plugin of plugins) {
        const { containers = [] } = await plugin.until('Synchronize');
        const known = [
          ...containers.map(({ id }) => id),
          ...plugin.told
            .filter(({ event }) => event === 'CreateContainer')
            .map(({ container }) => container?.id),
        ];
        assert.deepEqual(known.map(String).toSorted(), made.toSorted());
      }
    });
  });

  describe('what plugins ask for', { skip }, () => {
    test('a new container as they want it', async () => {
      const adjust = {
        annotations: { 'example.com/by': 'plugin' },
        env: [
          { key: 'FROM', value: 'plugin' },
          { key: '-GONE', value: '' },
        ],
        mounts: [{ destination: '/injected', type: 'bind', source: '/etc', options: ['rbind', 'ro'] }],
        rlimits: [{ type: 'RLIMIT_NOFILE', soft: '512', hard: '600' }],
        args: ['sh', '-c', 'echo replaced > /tmp/how; exec sleep 1000'],
        linux: {
          oomScoreAdj: { value: '555' },
          devices: [{ path: '/dev/injected', type: 'c', major: '1', minor: '5', fileMode: { value: 438 } }],
          sysctl: { 'net.ipv4.ip_unprivileged_port_start': '77' },
          resources: {
            memory: { limit: { value: String(48 * 1024 * 1024) } },
            cpu: { shares: { value: '200' } },
          },
        },
      };
      await using _ = await NriPlugin.start('00', 'adjusts', { CreateContainer: { for: 'wanted', adjust } });
      const pod = await runPod(cri, 'adjusted');
      const envs = [{ key: 'GONE', value: Buffer.from('not yet') }];
      const id = await startIn(cri, pod, idleSpec('wanted', image(), { envs }));
      const run = async (...command: string[]): Promise<string> => (await exec(cri, id, ...command)).stdout;
      await eventually('its own program', async () =>
        (await run('cat', '/tmp/how')) === 'replaced' ? true : undefined,
      );
      assert.equal(await run('sh', '-c', 'echo $FROM-$GONE'), 'plugin-');
      assert.equal(await run('sh', '-c', 'ulimit -n'), '512');
      assert.match(await run('cat', '/injected/hostname'), /./);
      assert.equal(await run('sh', '-c', 'head -c 3 /dev/injected | wc -c'), '3');
      assert.equal(await run('cat', '/proc/sys/net/ipv4/ip_unprivileged_port_start'), '77');
      const pid = await pidOf(cri, id);
      assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '555');
      const { resources } = (await statusOf(cri, id)) as unknown as {
        resources: { linux: { memoryLimitInBytes: string; cpuShares: string } };
      };
      assert.equal(resources.linux.memoryLimitInBytes, String(48 * 1024 * 1024));
      assert.equal(resources.linux.cpuShares, '200');
      const other = await startIn(cri, pod, idleSpec('other', image()));
      assert.equal((await exec(cri, other, 'sh', '-c', 'echo $FROM')).stdout, '');
    });

    test('what is not allowed to a pod is not allowed to them, and nothing is left', async () => {
      const adjust = { mounts: [{ destination: '/proc/self', source: '/etc', options: ['rbind'] }] };
      await using plugin = await NriPlugin.start('00', 'bold', { CreateContainer: { adjust } });
      const pod = await runPod(cri, 'guarded');
      await rejectsWith(createIn(cri, pod, idleSpec('a', image())), 'INVALID_ARGUMENT', /\/proc\/self/);
      assert.deepEqual(await listContainers(cri), []);
      const { container } = await plugin.until('RemoveContainer');
      assert.deepEqual(plugin.eventsOf(container?.id ?? ''), [
        'CreateContainer',
        'StopContainer',
        'RemoveContainer',
      ]);
    });

    test('namespaces of others, yet none of the node’s that the pod did not ask for', async () => {
      const join = async (type: string, path: string): Promise<NriPlugin> => {
        const adjust = { linux: { namespaces: [{ type, path }] } };
        return await NriPlugin.start('00', 'joins', { CreateContainer: { for: type, adjust } });
      };
      const other = await startIn(cri, await runPod(cri, 'elsewhere'), idleSpec('idle', image()));
      const path = `/proc/${await pidOf(cri, other)}/ns/net`;
      const pod = await runPod(cri, 'joins');
      for (const [type, file] of Object.entries({ pid: 'pid', network: 'net', mount: 'mnt', user: 'user' })) {
        await using _ = await join(type, `/proc/1/ns/${file}`);
        await rejectsWith(createIn(cri, pod, idleSpec(type, image())), 'INVALID_ARGUMENT', /namespaces: /);
      }
      await using _ = await join('network', path);
      const id = await startIn(cri, pod, idleSpec('network', image()));
      assert.equal(readlinkSync(`/proc/${await pidOf(cri, id)}/ns/net`), readlinkSync(path));
    });

    test('two that set the same are told of, by name', async () => {
      const adjust = { env: [{ key: 'WHO', value: 'x' }] };
      await using _one = await NriPlugin.start('00', 'one', { CreateContainer: { adjust } });
      await using _two = await NriPlugin.start('01', 'two', { CreateContainer: { adjust } });
      const pod = await runPod(cri, 'conflict');
      await rejectsWith(
        createIn(cri, pod, idleSpec('a', image())),
        'FAILED_PRECONDITION',
        /00-one and 01-two .*WHO/,
      );
    });

    test('limits of other containers: when one is created, when one is updated, and by themselves', async () => {
      const pod = await runPod(cri, 'limits');
      const first = await startIn(cri, pod, idleSpec('first', image()));
      const shares = async (id: string): Promise<string> =>
        ((await statusOf(cri, id)) as unknown as { resources: { linux: { cpuShares: string } } }).resources
          .linux.cpuShares;
      const update = (value: number, containerId?: string) => ({
        ...(containerId === undefined ? {} : { containerId }),
        linux: { resources: { cpu: { shares: { value: String(value) } } } },
      });
      await using plugin = await NriPlugin.start('00', 'shares', {
        CreateContainer: { for: 'second', update: [update(111, first)] },
        UpdateContainer: { for: 'second', update: [update(333), update(112, first)] },
      });
      const second = await startIn(cri, pod, idleSpec('second', image()));
      assert.equal(await shares(first), '111');
      await cri.call('UpdateContainerResources', { containerId: second, linux: { cpuShares: '222' } });
      assert.equal(await shares(second), '333', 'the plugin changes what was asked for');
      assert.equal(await shares(first), '112');
      const { failed } = await plugin.update([update(444, first), update(555, 'f'.repeat(64))]);
      assert.equal(await shares(first), '444');
      assert.deepEqual(failed, ['f'.repeat(64)]);
      const { container } = await plugin.until(
        'PostUpdateContainer',
        (told) => told.container?.id === second,
      );
      const { linux } = container as { linux?: { resources: { cpu: { shares: { value: string } } } } };
      assert.equal(linux?.resources.cpu.shares.value, '333');
    });

    test('a validator may reject what others changed', async () => {
      await using _maker = await NriPlugin.start('00', 'maker', {
        CreateContainer: { adjust: { annotations: { 'example.com/a': '1' } } },
      });
      await using judge = await NriPlugin.start(
        '99',
        'judge',
        { ValidateContainerAdjustment: { for: 'bad', reject: 'not by my will' } },
        '-validate',
      );
      const pod = await runPod(cri, 'judged');
      await createIn(cri, pod, idleSpec('good', image()));
      await rejectsWith(
        createIn(cri, pod, idleSpec('bad', image())),
        'FAILED_PRECONDITION',
        /not by my will/,
      );
      assert.equal(judge.told.filter(({ event }) => event === 'ValidateContainerAdjustment').length, 2);
    });
  });

  describe('what plugins refuse', { skip }, () => {
    test('a refused pod is undone, and a later one is made', async () => {
      const plugin = await NriPlugin.start('00', 'strict', {
        RunPodSandbox: { for: 'refused', error: 'no room' },
      });
      await using _ = plugin;
      await rejectsWith(runPod(cri, 'refused'), 'FAILED_PRECONDITION', /00-strict refused .*no room/);
      assert.deepEqual(await listPods(cri), []);
      const { pod } = await plugin.until('RemovePodSandbox');
      assert.deepEqual(plugin.eventsOf(pod?.id ?? ''), [
        'RunPodSandbox',
        'StopPodSandbox',
        'RemovePodSandbox',
      ]);
      await runPod(cri, 'other');
    });

    test('a refused start ends the container with the plugin’s words', async () => {
      await using plugin = await NriPlugin.start('00', 'strict', { StartContainer: { error: 'not now' } });
      const pod = await runPod(cri, 'unstarted');
      const id = await createIn(cri, pod, idleSpec('a', image()));
      await rejectsWith(cri.call('StartContainer', { containerId: id }), 'FAILED_PRECONDITION', /not now/);
      const { reason, message } = (await statusOf(cri, id)) as unknown as { reason: string; message: string };
      assert.equal(reason, 'StartError');
      assert.match(message, /not now/);
      await plugin.until('StopContainer', (told) => told.container?.id === id);
    });

    test('a refused update changes nothing', async () => {
      await using _ = await NriPlugin.start('00', 'strict', { UpdateContainer: { error: 'keep it' } });
      const pod = await runPod(cri, 'kept');
      const id = await startIn(
        cri,
        pod,
        idleSpec('a', image(), { linux: { resources: { cpuShares: '300' } } }),
      );
      await rejectsWith(
        cri.call('UpdateContainerResources', { containerId: id, linux: { cpuShares: '999' } }),
        'FAILED_PRECONDITION',
        /keep it/,
      );
      const { resources } = (await statusOf(cri, id)) as unknown as {
        resources: { linux: { cpuShares: string } };
      };
      assert.equal(resources.linux.cpuShares, '300');
    });
  });
});
