// test-minutes: 10
/**
 * The real kubelet (GANTRY_KUBELET) and the daemon are started again while pods run, the daemon also by SIGKILL: no
 * container notices. The kubelet collects images, and at the end everything.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProcesses } from './engine/processes.ts';
import { eventually } from './engine/wait.ts';
import { idler, script } from './kubelet/containers.ts';
import { fullName, kubeletText, listPods, podLog, runInContainer, untilPod } from './kubelet/kubelet-api.ts';
import { KubeletNode, kubeletNodeSkipReason } from './kubelet/kubelet-node.ts';
import { type ContainerStatus, containerOf, isReady, type Pod } from './kubelet/pod-status.ts';

const skip = kubeletNodeSkipReason() ?? false;
const lasting = ['counter', 'probed', 'family', 'host', 'prepared'];

describe('kubelet: restarts', { skip }, () => {
  let node: KubeletNode;
  let busybox = '';
  let shared = '';

  before(async () => {
    node = await KubeletNode.start({
      toml: '[images]\npinned = ["*/library/pinned:latest"]\n',
      variants: ['library/pinned', 'library/unused'],
    });
    ({ busybox } = node.engine.images);
    shared = node.path('shared');
    mkdirSync(shared);
    addPods();
  });
  after(async () => await node[Symbol.asyncDispose]());

  function addPods(): void {
    const tick = 'i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 0.1; done';
    const test = (file: string): object => ({ exec: { command: ['test', '-e', file] }, periodSeconds: 1 });
    node.addPod('counter', { containers: [script(busybox, 'main', tick)] });
    node.addPod('probed', {
      containers: [
        idler(busybox, 'main', { livenessProbe: test('/bin/sh'), readinessProbe: test('/bin/sh') }),
        {
          name: 'web',
          image: node.engine.images.web,
          readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1 },
        },
      ],
    });
    node.addPod('family', {
      shareProcessNamespace: true,
      containers: [script(busybox, 'a', 'exec sleep 7171'), script(busybox, 'b', 'exec sleep 7272')],
    });
    node.addPod('host', { hostNetwork: true, hostPID: true, containers: [idler(busybox, 'main')] });
    node.addPod('prepared', {
      volumes: [{ name: 'work', emptyDir: {} }],
      initContainers: [
        script(busybox, 'once', 'echo once >> /work/runs', {
          volumeMounts: [{ name: 'work', mountPath: '/work' }],
        }),
        idler(busybox, 'sidecar', { restartPolicy: 'Always' }),
      ],
      containers: [idler(busybox, 'main', { volumeMounts: [{ name: 'work', mountPath: '/work' }] })],
    });
    const untilTold = (code: number): string =>
      `while [ ! -e /shared/leave ]; do sleep 0.1; done; echo leaving; exit ${code} # told-${code}`;
    for (const [name, code, restartPolicy] of [
      ['leaves', 5, 'Never'],
      ['returns', 6, 'Always'],
    ] as const)
      node.addPod(name, {
        restartPolicy,
        volumes: [{ name: 'shared', hostPath: { path: shared } }],
        containers: [
          script(busybox, 'main', untilTold(code), {
            volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
          }),
        ],
      });
  }

  const containers = ({ status }: Pod): readonly ContainerStatus[] => [
    ...(status.initContainerStatuses ?? []),
    ...(status.containerStatuses ?? []),
  ];

  /** Id and restarts of every container of the pods that are to last. */
  async function identities(): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    for (const name of lasting) {
      const pod = await untilPod(name, 'is ready', isReady);
      for (const status of containers(pod))
        all[`${name}/${status.name}`] = `${status.containerID} restarted ${status.restartCount} times`;
      all[`${name}: its sandbox`] = (await sandboxes(name)).join();
    }
    return all;
  }

  async function sandboxes(name: string): Promise<string[]> {
    const { items } = await node.cri.call<{ items: { id: string; state: string }[] }>('ListPodSandbox', {
      filter: { labelSelector: { 'io.kubernetes.pod.name': fullName(name) } },
    });
    return items.map(({ id, state }) => `${id} ${state}`).toSorted();
  }

  /** The counter's log has every tick from the first on, up to now. */
  async function assertLogGoesOn(): Promise<void> {
    const last = (log: string): number => Number(/tick (\d+)\n$/.exec(log)?.[1]);
    // Until the kubelet has found the daemon again, the answer is an excuse.
    const later = async (than: number): Promise<string> =>
      await eventually('more ticks', async () => {
        const text = await podLog('counter', 'main');
        return last(text) > than ? text : undefined;
      });
    const log = await later(last(await later(0)));
    assert.equal(log, Array.from({ length: last(log) }, (_, index) => `tick ${index + 1}\n`).join(''));
  }

  async function assertAllWorks(): Promise<void> {
    await assertLogGoesOn();
    assert.equal(await runInContainer('probed', 'main', 'echo still here'), 'still here\n');
    assert.match(await runInContainer('family', 'a', 'ps -o args'), /sleep 7272/);
    assert.equal(await runInContainer('prepared', 'main', 'cat /work/runs'), 'once\n');
    await eventually('metrics of the containers', async () =>
      /^container_cpu_usage_seconds_total\{container="a",namespace="default",pod="family-node1"\}/m.test(
        await kubeletText('/metrics/resource'),
      )
        ? true
        : undefined,
    );
  }

  test('the kubelet is started again', async () => {
    const earlier = await identities();
    await node.kubelet.stop();
    await node.kubelet.startAgain();
    assert.deepEqual(await identities(), earlier);
    await assertAllWorks();
  });

  test('the daemon is started again', async () => {
    const earlier = await identities();
    assert.equal(await node.engine.daemon.stop(), 0);
    await node.engine.daemon.startAgain();
    await assertAllWorks();
    assert.deepEqual(await identities(), earlier);
  });

  test('the daemon is killed; what ends meanwhile is told afterwards, and nothing else has changed', async () => {
    const earlier = await identities();
    const { containerID } = containerOf(await untilPod('returns', 'is ready', isReady), 'main');
    await untilPod('leaves', 'is ready', isReady);
    await node.engine.daemon.kill();
    writeFileSync(join(shared, 'leave'), '');
    await eventually('both to end', () => (findProcesses(/# told-[56]/).length === 0 ? true : undefined));
    await node.engine.daemon.startAgain();
    const left = await untilPod('leaves', 'has failed', ({ status }) => status.phase === 'Failed');
    assert.equal(containerOf(left, 'main').state.terminated?.exitCode, 5);
    assert.equal(containerOf(left, 'main').state.terminated?.reason, 'Error');
    assert.equal(await podLog('leaves', 'main'), 'leaving\n');
    const returned = containerOf(
      await untilPod('returns', 'was restarted', (pod) => containerOf(pod, 'main').restartCount >= 1),
      'main',
    );
    assert.equal(returned.lastState.terminated?.exitCode, 6);
    assert.match(JSON.stringify([returned.lastState, returned.state]), new RegExp(containerID ?? 'none'));
    await assertAllWorks();
    assert.deepEqual(await identities(), earlier);
  });

  test('both are started again at once', async () => {
    const earlier = await identities();
    await Promise.all([node.kubelet.stop(), node.engine.daemon.kill()]);
    await node.engine.daemon.startAgain();
    await node.kubelet.startAgain();
    assert.deepEqual(await identities(), earlier);
    await assertAllWorks();
  });

  test('the kubelet collects images that nothing uses, but no pinned one', async () => {
    const [pinned = '', unused = ''] = node.variants;
    const present = async (): Promise<string[]> => {
      const { images } = await node.cri.call<{ images: { repoTags: string[] }[] }>('ListImages');
      return images.flatMap(({ repoTags }) => repoTags);
    };
    assert.ok((await present()).includes(unused));
    await node.kubelet.stop();
    // A disk that is never free enough. The pods stay: the kubelet evicts no static pod.
    const tooLittle = '99%';
    await node.kubelet.startAgain({
      evictionHard: { 'nodefs.available': tooLittle, 'imagefs.available': tooLittle },
      imageMinimumGCAge: '1ms',
    });
    await eventually('the unused image to be gone', async () =>
      (await present()).includes(unused) ? undefined : true,
    );
    const left = await present();
    assert.ok(left.includes(pinned), left.join(' '));
    for (const used of [node.engine.images.busybox, node.engine.images.web])
      assert.ok(left.includes(used), left.join(' '));
    await untilPod('probed', 'is ready', isReady);
  });

  test('every pod goes, the kubelet collects them, and nothing is left', async () => {
    await node.removeAllPods();
    assert.deepEqual(await listPods(), []);
    await node.untilCollected();
    assert.equal(existsSync('/var/log/containers/counter'), false);
    await node.assertNothingLeft();
  });
});
