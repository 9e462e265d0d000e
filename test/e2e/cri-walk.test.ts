/**
 * The life of a pod by a gRPC client of another codec than the daemon's: every RPC of the CRI, in the order of a walk
 * from nothing to nothing. Runs wherever the engine does, with or without crictl.
 */
import assert from 'node:assert/strict';
import { readFileSync, renameSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { status, type ServiceError } from '@grpc/grpc-js';
import { codeOfEmpty, collect, CriClient, rejectsWith } from './engine/cri-client.ts';
import { webPage } from './engine/images.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import { createIn, listContainers, type Listed, listPods, statusOf } from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec, type PodSpec } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually, untilServed } from './engine/wait.ts';
import type { ContainerStatus, ImageInfo, PodStatus } from './engine/wire.ts';

const skip = engineSkipReason() ?? false;

interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exitCode: number;
}

interface Event {
  readonly containerId: string;
  readonly containerEventType: string;
  readonly createdAt: string;
  readonly podSandboxStatus: PodStatus | null;
  readonly containersStatuses: readonly ContainerStatus[];
}

describe('CRI: the walk of a second codec', { skip, timeout: 180_000 }, () => {
  let node: TestNode;
  let cri: CriClient;
  let empty: NodeState;
  let imageRef = '';
  let podSandboxId = '';
  let web = '';
  let client = '';
  let ip = '';
  const pod = podSpec('walk');

  before(async () => {
    node = await startTestNode();
    cri = new CriClient();
  });
  after(async () => {
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  const create = async (config: PodSpec): Promise<string> =>
    await createIn(cri, { id: podSandboxId, config: pod }, config);
  const exec = async (containerId: string, ...cmd: readonly string[]): Promise<ExecResult> =>
    await cri.call<ExecResult>('ExecSync', { containerId, cmd, timeout: 30 });

  test('every method of the proto file is registered', async () => {
    const methods = cri.methods();
    assert.equal(methods.length, 41);
    for (const { name, isStream } of methods) {
      const code = await codeOfEmpty(cri, name, isStream);
      assert.notEqual(code, status.UNIMPLEMENTED, name);
    }
  });

  test('Version, Status, RuntimeConfig, UpdateRuntimeConfig', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    assert.deepEqual(await cri.call('Version', { version: '0.1.0' }), {
      version: '0.1.0',
      runtimeName: 'gantry',
      runtimeVersion: version,
      runtimeApiVersion: 'v1',
    });
    const answer = await cri.call<{
      status: { conditions: { type: string; status: boolean }[] };
      info: Record<string, string>;
    }>('Status', { verbose: true });
    const conditions = answer.status.conditions.map(({ type, status: isTrue }) => [type, isTrue]);
    assert.deepEqual(conditions, [
      ['RuntimeReady', true],
      ['NetworkReady', true],
    ]);
    for (const [key, text] of Object.entries(answer.info)) assert.ok(JSON.parse(text), key);
    const { linux } = await cri.call<{ linux: { cgroupDriver: string } }>('RuntimeConfig');
    assert.match(linux.cgroupDriver, /^(?:CGROUPFS|SYSTEMD)$/);
    await cri.call('UpdateRuntimeConfig', { runtimeConfig: { networkConfig: { podCidr: '' } } });
  });

  test('PullImage, ImageStatus, ListImages, StreamImages', async () => {
    assert.equal(
      (await cri.call<{ image: null }>('ImageStatus', { image: { image: node.images.web } })).image,
      null,
    );
    ({ imageRef } = await cri.call<{ imageRef: string }>('PullImage', { image: { image: node.images.web } }));
    await cri.call('PullImage', { image: { image: node.images.busybox }, sandboxConfig: pod });
    const { image, info } = await cri.call<{ image: ImageInfo; info: Record<string, string> }>(
      'ImageStatus',
      {
        image: { image: node.images.web },
        verbose: true,
      },
    );
    assert.equal(image.id, imageRef);
    assert.deepEqual(image.repoTags, [node.images.web]);
    assert.ok(BigInt(image.size) > 0n);
    assert.ok(JSON.parse(info['info'] ?? ''));
    const { images } = await cri.call<{ images: ImageInfo[] }>('ListImages');
    const streamed = await collect(cri.stream<{ images: ImageInfo[] }>('StreamImages'));
    assert.deepEqual(
      streamed.flatMap((message) => message.images),
      images,
    );
    assert.equal(images.length, 2);
    empty = nodeState();
  });

  test('RunPodSandbox, PodSandboxStatus, ListPodSandbox, StreamPodSandboxes', async () => {
    ({ podSandboxId } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', { config: pod }));
    const answer = await cri.call<{
      status: PodStatus;
      info: Record<string, string>;
      containersStatuses: unknown[];
    }>('PodSandboxStatus', { podSandboxId, verbose: true });
    assert.equal(answer.status.state, 'SANDBOX_READY');
    assert.deepEqual(answer.status.metadata, pod.metadata);
    assert.deepEqual(answer.status.labels, pod['labels']);
    assert.deepEqual(answer.status.annotations, pod['annotations']);
    assert.ok(BigInt(answer.status.createdAt) > 0n);
    assert.ok(JSON.parse(answer.info['info'] ?? ''));
    ({ ip } = answer.status.network);
    const { items } = await cri.call<{ items: Listed[] }>('ListPodSandbox', { filter: { id: podSandboxId } });
    assert.deepEqual(
      items.map(({ id, state }) => [id, state]),
      [[podSandboxId, 'SANDBOX_READY']],
    );
    const streamed = await collect(cri.stream<{ podSandboxes: Listed[] }>('StreamPodSandboxes'));
    assert.deepEqual(
      streamed.flatMap(({ podSandboxes }) => podSandboxes),
      items,
    );
  });

  test('RunPodSandbox again: the same request gives the same pod, another one of its name is refused', async () => {
    const again = await cri.call<{ podSandboxId: string }>('RunPodSandbox', { config: pod });
    assert.equal(again.podSandboxId, podSandboxId);
    const other = { ...pod, hostname: 'other' };
    await rejectsWith(
      cri.call('RunPodSandbox', { config: other }),
      'ALREADY_EXISTS',
      new RegExp(podSandboxId),
    );
    assert.equal((await listPods(cri)).length, 1);
  });

  test('CreateContainer, StartContainer, ContainerStatus, ListContainers, StreamContainers', async () => {
    web = await create(containerSpec('web', node.images.web));
    assert.equal((await statusOf(cri, web)).state, 'CONTAINER_CREATED');
    await cri.call('StartContainer', { containerId: web });
    client = await create(idleSpec('client', node.images.busybox));
    await cri.call('StartContainer', { containerId: client });
    const shown = await statusOf(cri, web);
    assert.equal(shown.state, 'CONTAINER_RUNNING');
    assert.deepEqual([shown.imageId, shown.imageRef], [imageRef, imageRef]);
    assert.ok(BigInt(shown.startedAt) >= BigInt(shown.createdAt));
    const { containers } = await cri.call<{ containers: (Listed & { imageId: string })[] }>(
      'ListContainers',
      {
        filter: { podSandboxId, state: { state: 'CONTAINER_RUNNING' }, labelSelector: { role: 'web' } },
      },
    );
    assert.deepEqual(
      containers.map(({ id, imageId }) => [id, imageId]),
      [[web, imageRef]],
    );
    const streamed = await collect(cri.stream<{ containers: Listed[] }>('StreamContainers'));
    assert.deepEqual(
      streamed.flatMap((message) => message.containers.map(({ id }) => id)).toSorted(),
      [web, client].toSorted(),
    );
  });

  test('ExecSync: the client asks the web server over localhost and over the pod’s IP', async () => {
    await untilServed(`http://${ip}/`);
    for (const host of ['localhost', ip]) {
      const { stdout, stderr, exitCode } = await exec(client, 'wget', '-qO-', `http://${host}/`);
      assert.deepEqual([stdout.toString(), stderr.toString(), exitCode], [webPage, '', 0]);
    }
    const failed = await exec(client, 'sh', '-c', 'echo out; echo err >&2; exit 5');
    assert.deepEqual(
      [failed.stdout.toString(), failed.stderr.toString(), failed.exitCode],
      ['out\n', 'err\n', 5],
    );
  });

  test('ExecSync keeps 16 MiB of each stream and drops the rest (CVE-2022-1708, CVE-2022-31030)', async () => {
    const flood = async (command: string): Promise<readonly number[]> => {
      const cmd = ['sh', '-c', command];
      const result = await cri.call<ExecResult>('ExecSync', { containerId: client, cmd, timeout: 60 });
      return [result.stdout.length, result.stderr.length, result.exitCode];
    };
    // The whole message is what the kubelet takes, 16 MiB: a few bytes go to the fields around the output.
    const cap = 16 * 1024 * 1024;
    const [long = 0, ...others] = await flood('head -c 20000000 /dev/zero; echo end >&2; exit 3');
    assert.ok(long > cap - 128 && long < cap, String(long));
    assert.deepEqual(others, [4, 3]);
    const [out = 0, err = 0, exitCode] = await flood('head -c 20000000 /dev/zero | tee /dev/stderr');
    assert.ok(out > cap / 2 - 128 && err > cap / 2 - 128, `${out} ${err}`);
    assert.equal(exitCode, 0);
  });

  test('Exec, Attach and PortForward give URLs on loopback', async () => {
    const options = { stdin: true, stdout: true, stderr: true, tty: false };
    const urls = [
      await cri.call<{ url: string }>('Exec', { containerId: client, cmd: ['true'], ...options }),
      await cri.call<{ url: string }>('Attach', { containerId: client, ...options }),
      await cri.call<{ url: string }>('PortForward', { podSandboxId, port: [80] }),
    ].map(({ url }) => new URL(url));
    for (const url of urls) assert.equal(url.hostname, '127.0.0.1');
    assert.equal(new Set(urls.map(({ pathname }) => pathname)).size, 3);
  });

  test('ContainerStats, ListContainerStats, StreamContainerStats', async () => {
    interface Stats {
      readonly attributes: { readonly id: string };
      readonly memory: { readonly workingSetBytes: { readonly value: string } };
    }
    const { stats: one } = await cri.call<{ stats: Stats }>('ContainerStats', { containerId: web });
    assert.equal(one.attributes.id, web);
    assert.ok(BigInt(one.memory.workingSetBytes.value) > 0n);
    const { stats } = await cri.call<{ stats: Stats[] }>('ListContainerStats', { filter: { podSandboxId } });
    const ids = stats.map(({ attributes }) => attributes.id).toSorted();
    assert.deepEqual(ids, [web, client].toSorted());
    const streamed = await collect(cri.stream<{ containerStats: Stats[] }>('StreamContainerStats'));
    assert.deepEqual(
      streamed
        .flatMap(({ containerStats }) => containerStats.map(({ attributes }) => attributes.id))
        .toSorted(),
      ids,
    );
  });

  test('PodSandboxStats, ListPodSandboxStats, StreamPodSandboxStats', async () => {
    interface Stats {
      readonly attributes: { readonly id: string };
      readonly linux: { readonly containers: readonly unknown[] };
    }
    const { stats: one } = await cri.call<{ stats: Stats }>('PodSandboxStats', { podSandboxId });
    assert.deepEqual([one.attributes.id, one.linux.containers.length], [podSandboxId, 2]);
    const { stats } = await cri.call<{ stats: Stats[] }>('ListPodSandboxStats', {
      filter: { id: podSandboxId },
    });
    assert.deepEqual(
      stats.map(({ attributes }) => attributes.id),
      [podSandboxId],
    );
    const streamed = await collect(cri.stream<{ podSandboxStats: Stats[] }>('StreamPodSandboxStats'));
    assert.deepEqual(
      streamed.flatMap(({ podSandboxStats }) => podSandboxStats.map(({ attributes }) => attributes.id)),
      [podSandboxId],
    );
  });

  test('ListMetricDescriptors, ListPodSandboxMetrics, StreamPodSandboxMetrics', async () => {
    const { descriptors } = await cri.call<{ descriptors: { name: string }[] }>('ListMetricDescriptors');
    assert.ok(descriptors.length > 40, String(descriptors.length));
    const { podMetrics } = await cri.call<{ podMetrics: { podSandboxId: string }[] }>(
      'ListPodSandboxMetrics',
    );
    assert.deepEqual(
      podMetrics.map((one) => one.podSandboxId),
      [podSandboxId],
    );
    const streamed = await collect(
      cri.stream<{ podSandboxMetrics: { podSandboxId: string }[] }>('StreamPodSandboxMetrics'),
    );
    assert.deepEqual(
      streamed.flatMap(({ podSandboxMetrics }) => podSandboxMetrics.map((one) => one.podSandboxId)),
      [podSandboxId],
    );
  });

  test('UpdateContainerResources, UpdatePodSandboxResources', async () => {
    const linux = { memoryLimitInBytes: 128 * 1024 * 1024, cpuShares: 300 };
    await cri.call('UpdateContainerResources', { containerId: client, linux });
    const { resources } = await statusOf(cri, client);
    assert.deepEqual(
      [resources?.linux.memoryLimitInBytes, resources?.linux.cpuShares],
      [String(linux.memoryLimitInBytes), '300'],
    );
    await cri.call('UpdatePodSandboxResources', { podSandboxId, resources: { cpuShares: 500 } });
  });

  test('ReopenContainerLog makes a new file', async () => {
    const { logPath } = await statusOf(cri, web);
    renameSync(logPath, `${logPath}.old`);
    await cri.call('ReopenContainerLog', { containerId: web });
    await exec(client, 'wget', '-qO-', 'http://localhost/?after-rotation');
    await eventually('the request in the new log', () =>
      readFileSync(logPath, 'utf8').includes('?after-rotation') ? true : undefined,
    );
    assert.doesNotMatch(readFileSync(`${logPath}.old`, 'utf8'), /after-rotation/);
  });

  test('GetContainerEvents tells of a container’s life with the pod’s whole status', async () => {
    const stop = new AbortController();
    const events: Event[] = [];
    const reading = (async () => {
      for await (const event of cri.stream<Event>('GetContainerEvents', {}, { signal: stop.signal }))
        events.push(event);
    })().catch((error: ServiceError) => assert.equal(error.code, status.CANCELLED));
    await eventually('a first event', async () => {
      const witness = await create(idleSpec('witness', node.images.busybox));
      await cri.call('RemoveContainer', { containerId: witness });
      return events.length > 0 ? true : undefined;
    });
    const id = await create(containerSpec('short', node.images.busybox, { command: ['sh', '-c', 'exit 4'] }));
    await cri.call('StartContainer', { containerId: id });
    await eventually('the exit', () =>
      events.find(
        (event) => event.containerId === id && event.containerEventType === 'CONTAINER_STOPPED_EVENT',
      ),
    );
    await cri.call('RemoveContainer', { containerId: id });
    await eventually('the removal', () =>
      events.find(
        (event) => event.containerId === id && event.containerEventType === 'CONTAINER_DELETED_EVENT',
      ),
    );
    const own = events.filter((event) => event.containerId === id);
    assert.deepEqual(
      own.map(({ containerEventType }) => containerEventType),
      [
        'CONTAINER_CREATED_EVENT',
        'CONTAINER_STARTED_EVENT',
        'CONTAINER_STOPPED_EVENT',
        'CONTAINER_DELETED_EVENT',
      ],
    );
    const stopped = own[2];
    assert.equal(stopped?.podSandboxStatus?.id, podSandboxId);
    assert.equal(stopped?.containersStatuses.find((one) => one.id === id)?.exitCode, 4);
    stop.abort();
    await reading;
  });

  test('lists show every change of state at once', async () => {
    const stateOf = async (id: string): Promise<string | undefined> =>
      (await listContainers(cri)).find((one) => one.id === id)?.state;
    const id = await create(idleSpec('listed', node.images.busybox));
    assert.equal(await stateOf(id), 'CONTAINER_CREATED');
    await cri.call('StartContainer', { containerId: id });
    assert.equal(await stateOf(id), 'CONTAINER_RUNNING');
    await cri.call('StopContainer', { containerId: id, timeout: 0 });
    assert.equal(await stateOf(id), 'CONTAINER_EXITED');
    await cri.call('RemoveContainer', { containerId: id });
    assert.equal(await stateOf(id), undefined);
  });

  test('StopContainer, RemoveContainer: twice is no error', async () => {
    for (let i = 0; i < 2; i += 1) await cri.call('StopContainer', { containerId: web, timeout: 10 });
    const stopped = await statusOf(cri, web);
    assert.deepEqual([stopped.state, stopped.exitCode, stopped.reason], ['CONTAINER_EXITED', 0, 'Completed']);
    assert.ok(BigInt(stopped.finishedAt) > BigInt(stopped.startedAt));
    for (let i = 0; i < 2; i += 1) await cri.call('RemoveContainer', { containerId: web });
  });

  test('StopPodSandbox, RemovePodSandbox: twice is no error', async () => {
    for (let i = 0; i < 2; i += 1) await cri.call('StopPodSandbox', { podSandboxId });
    const answer = await cri.call<{ status: PodStatus }>('PodSandboxStatus', { podSandboxId });
    assert.deepEqual([answer.status.state, answer.status.network.ip], ['SANDBOX_NOTREADY', '']);
    assert.deepEqual(
      (await listPods(cri)).map(({ id, state }) => [id, state]),
      [[podSandboxId, 'SANDBOX_NOTREADY']],
    );
    for (let i = 0; i < 2; i += 1) await cri.call('RemovePodSandbox', { podSandboxId });
    assert.deepEqual(await listContainers(cri), []);
    assert.deepEqual(await listPods(cri), []);
  });

  test('nothing of the pod is left', async () => {
    await assertNothingLeft(empty);
  });

  test('ImageFsInfo, RemoveImage: twice is no error', async () => {
    const used = async (): Promise<number> => {
      const { imageFilesystems } = await cri.call<{ imageFilesystems: { usedBytes: { value: string } }[] }>(
        'ImageFsInfo',
      );
      return Number(imageFilesystems[0]?.usedBytes.value);
    };
    const atFirst = await used();
    for (let i = 0; i < 2; i += 1) await cri.call('RemoveImage', { image: { image: imageRef } });
    await cri.call('RemoveImage', { image: { image: node.images.busybox } });
    assert.deepEqual((await cri.call<{ images: [] }>('ListImages')).images, []);
    assert.ok(atFirst > 1_000_000, String(atFirst));
    assert.ok((await used()) < atFirst / 10, `${await used()} of ${atFirst} bytes`);
  });
});
