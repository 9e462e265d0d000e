/** crictl's stats, metrics, update and events. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Crictl, crictlSkipReason } from './engine/crictl.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { untilServed } from './engine/wait.ts';
import type { ContainerStatus } from './engine/wire.ts';

const skip = engineSkipReason() ?? crictlSkipReason() ?? false;
const mebibyte = 1024 * 1024;

interface Amount {
  readonly value: string;
}

interface ContainerStats {
  readonly attributes: { readonly id: string; readonly metadata: { readonly name: string } };
  readonly cpu: { readonly usageCoreNanoSeconds: Amount; readonly usageNanoCores: Amount };
  readonly memory: { readonly workingSetBytes: Amount; readonly availableBytes: Amount };
  readonly writableLayer: { readonly usedBytes: Amount; readonly inodesUsed: Amount };
}

interface PodStats {
  readonly attributes: { readonly id: string };
  readonly linux: {
    readonly cpu: { readonly usageCoreNanoSeconds: Amount };
    readonly memory: { readonly workingSetBytes: Amount };
    readonly network: { readonly defaultInterface: { readonly name: string; readonly rxBytes: Amount } };
    readonly process: { readonly processCount: Amount };
    readonly containers: readonly ContainerStats[];
  };
}

interface Event {
  readonly containerId: string;
  readonly containerEventType: string;
  readonly podSandboxStatus?: { readonly id: string };
  readonly containersStatuses?: readonly { readonly id: string; readonly state: string }[];
}

describe('crictl: stats, metrics, update, events', { skip, timeout: 180_000 }, () => {
  let node: TestNode;
  let crictl: Crictl;
  let pod = '';
  let web = '';
  let client = '';
  const podFile = podSpec('measured');
  const limits = { memoryLimitInBytes: 64 * mebibyte, cpuPeriod: 100_000, cpuQuota: 50_000, cpuShares: 512 };

  before(async () => {
    node = await startTestNode();
    crictl = new Crictl();
    await crictl.ok('pull', node.images.busybox);
    await crictl.ok('pull', node.images.web);
    pod = await crictl.ok('runp', crictl.file(podFile));
    const { status } = await crictl.json<{ status: { network: { ip: string } } }>('inspectp', pod);
    web = await start(containerSpec('web', node.images.web, { linux: { resources: limits } }));
    const hold =
      'dd if=/dev/zero of=/held bs=1M count=5 2>/dev/null; trap "exit 0" TERM; while :; do sleep 1; done';
    client = await start(containerSpec('client', node.images.busybox, { command: ['sh', '-c', hold] }));
    await untilServed(`http://${status.network.ip}/`);
  });
  after(async () => {
    crictl[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  async function start(spec: object): Promise<string> {
    const id = await crictl.ok('create', pod, crictl.file(spec), crictl.file(podFile));
    await crictl.ok('start', id);
    return id;
  }

  test('stats shows CPU, memory and disk of each running container', async () => {
    const table = await crictl.ok('stats', '--seconds', '0');
    assert.match(table, new RegExp(`^${web.slice(0, 13)}\\s+web\\s`, 'm'));
    const { stats } = await crictl.json<{ stats: ContainerStats[] }>(
      'stats',
      '--seconds',
      '0',
      '--output',
      'json',
    );
    assert.deepEqual(stats.map(({ attributes }) => attributes.metadata.name).toSorted(), ['client', 'web']);
    const ofClient = stats.find(({ attributes }) => attributes.id === client);
    const ofWeb = stats.find(({ attributes }) => attributes.id === web);
    assert.ok(ofClient && ofWeb);
    assert.ok(Number(ofClient.writableLayer.usedBytes.value) >= 5 * mebibyte);
    assert.ok(Number(ofClient.writableLayer.inodesUsed.value) >= 1);
    const memory = Number(ofWeb.memory.workingSetBytes.value);
    assert.ok(memory > 100_000 && memory < 64 * mebibyte, String(memory));
    assert.equal(Number(ofWeb.memory.availableBytes.value), 64 * mebibyte - memory);
    assert.ok(Number(ofWeb.cpu.usageCoreNanoSeconds.value) > 0);
  });

  test('stats filters by id and label', async () => {
    const one = await crictl.json<{ stats: ContainerStats[] }>(
      'stats',
      '--seconds',
      '0',
      '-o',
      'json',
      '--id',
      web,
    );
    assert.deepEqual(
      one.stats.map(({ attributes }) => attributes.id),
      [web],
    );
    const labelled = await crictl.json<{ stats: ContainerStats[] }>(
      'stats',
      '--seconds',
      '0',
      '-o',
      'json',
      '--label',
      'role=client',
    );
    assert.deepEqual(
      labelled.stats.map(({ attributes }) => attributes.id),
      [client],
    );
  });

  test('statsp shows the pod with its network, processes and containers', async () => {
    const { stats } = await crictl.json<{ stats: PodStats[] }>(
      'statsp',
      '--seconds',
      '0',
      '--output',
      'json',
    );
    const [ofPod, ...others] = stats;
    assert.ok(ofPod);
    assert.deepEqual(others, []);
    assert.equal(ofPod.attributes.id, pod);
    assert.equal(ofPod.linux.network.defaultInterface.name, 'eth0');
    assert.ok(Number(ofPod.linux.network.defaultInterface.rxBytes.value) > 100);
    // nginx, its worker, the client's shell and its sleep.
    assert.ok(Number(ofPod.linux.process.processCount.value) >= 3);
    assert.equal(ofPod.linux.containers.length, 2);
    const sum = ofPod.linux.containers.reduce(
      (total, { cpu }) => total + Number(cpu.usageCoreNanoSeconds.value),
      0,
    );
    assert.ok(Number(ofPod.linux.cpu.usageCoreNanoSeconds.value) > 0 && sum > 0);
    assert.match(
      await crictl.ok('statsp', '--seconds', '0'),
      new RegExp(`^measured\\s+${pod.slice(0, 13)}\\s`, 'm'),
    );
  });

  test('metricdescs describes what metricsp shows', async () => {
    const { descriptors } = await crictl.json<{
      descriptors: { name: string; help: string; labelKeys: string[] }[];
    }>('metricdescs');
    const known = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
    assert.ok(
      known.has('container_memory_working_set_bytes') && known.has('container_cpu_usage_seconds_total'),
    );
    assert.ok(descriptors.every(({ help }) => help !== ''));
    const { podMetrics } = await crictl.json<{
      podMetrics: {
        podSandboxId: string;
        metrics: { name: string; labelValues: string[] }[];
        containerMetrics: { containerId: string; metrics: { name: string; labelValues: string[] }[] }[];
      }[];
    }>('metricsp');
    const [ofPod, ...others] = podMetrics;
    assert.ok(ofPod);
    assert.deepEqual(others, []);
    assert.equal(ofPod.podSandboxId, pod);
    assert.deepEqual(
      ofPod.containerMetrics.map(({ containerId }) => containerId).toSorted(),
      [web, client].toSorted(),
    );
    for (const { metrics } of [ofPod, ...ofPod.containerMetrics]) {
      assert.ok(metrics.length > 0);
      for (const { name, labelValues } of metrics) {
        const keys = known.get(name);
        assert.ok(keys, `${name} is described`);
        assert.equal(labelValues.length, keys.length, name);
      }
    }
  });

  test('update changes limits; inspect shows them and the kernel has them', async () => {
    const memory = 96 * mebibyte;
    await crictl.ok('update', '--memory', String(memory), '--cpu-quota', '20000', '--cpu-share', '256', web);
    const { status } = await crictl.json<{ status: ContainerStatus }>('inspect', web);
    assert.deepEqual(
      [
        status.resources?.linux.memoryLimitInBytes,
        status.resources?.linux.cpuQuota,
        status.resources?.linux.cpuShares,
      ],
      [String(memory), '20000', '256'],
    );
    const { stats } = await crictl.json<{ stats: ContainerStats[] }>(
      'stats',
      '--seconds',
      '0',
      '-o',
      'json',
      '--id',
      web,
    );
    const [ofWeb] = stats;
    assert.equal(
      Number(ofWeb?.memory.availableBytes.value) + Number(ofWeb?.memory.workingSetBytes.value),
      memory,
    );
    assert.match(await crictl.fails('update', '--memory', '4096', web), /memory/i);
    const kept = await crictl.json<{ status: ContainerStatus }>('inspect', web);
    assert.equal(
      kept.status.resources?.linux.memoryLimitInBytes,
      String(memory),
      'a refused update changes nothing',
    );
  });

  test('events tells what happens to a container and its pod', async () => {
    await using events = crictl.start(['events']);
    // Nothing says that the stream stands: a container of which an event is seen does.
    let witness = '';
    const seen = events.untilOutput(/CONTAINER_CREATED_EVENT/).then(() => (witness = 'seen'));
    while (witness === '') {
      const id = await crictl.ok(
        'create',
        pod,
        crictl.file(idleSpec('witness', node.images.busybox)),
        crictl.file(podFile),
      );
      await Promise.race([seen, crictl.ok('rm', id)]);
      await crictl.run(['rm', id]);
    }
    const id = await start(idleSpec('short', node.images.busybox));
    await crictl.ok('stop', id);
    await crictl.ok('rm', id);
    const out = await events.untilOutput(new RegExp(`"${id}"[^}]*?CONTAINER_DELETED_EVENT`));
    const all = jsonDocuments<Event>(out);
    assert.deepEqual(
      all.filter(({ containerId }) => containerId === id).map(({ containerEventType }) => containerEventType),
      [
        'CONTAINER_CREATED_EVENT',
        'CONTAINER_STARTED_EVENT',
        'CONTAINER_STOPPED_EVENT',
        'CONTAINER_DELETED_EVENT',
      ],
    );
    const stopped = all.find(
      (event) => event.containerId === id && event.containerEventType === 'CONTAINER_STOPPED_EVENT',
    );
    assert.equal(stopped?.podSandboxStatus?.id, pod);
    assert.equal(stopped?.containersStatuses?.find((one) => one.id === id)?.state, 'CONTAINER_EXITED');
  });
});

/** Objects that follow each other, as crictl prints events; one that is not complete yet is left out. */
function jsonDocuments<T>(text: string): readonly T[] {
  return text
    .split(/^(?=\{)/m)
    .map((part) => part.trim())
    .filter((part) => part.startsWith('{') && part.endsWith('}'))
    .map((part) => JSON.parse(part) as T);
}
