// test-minutes: 15
/**
 * A node full of pods of two containers each, started ten at a time: 110 of them, the kubelet's default maximum, or as many as
 * GANTRY_TEST_PODS says.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CriClient } from './engine/cri-client.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import {
  exec,
  listContainers,
  listPods,
  pull,
  removePod,
  runPod,
  startIn,
  type StartedPod,
} from './engine/pod-steps.ts';
import { idleSpec } from './engine/pods.ts';
import { withDaemon } from './engine/restarted.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import type { PodStatus } from './engine/wire.ts';

const skip = engineSkipReason() ?? false;
const pods = Number(process.env['GANTRY_TEST_PODS'] ?? 110);
const atATime = 10;
const containersOfAPod = ['one', 'two'] as const;

interface Usage {
  readonly attributes: { readonly id: string };
  readonly cpu: { readonly usageCoreNanoSeconds: { readonly value: string } } | null;
  readonly memory: { readonly workingSetBytes: { readonly value: string } } | null;
}

describe(`${pods} pods of two containers`, { skip }, () => {
  let node: TestNode;
  let cri: CriClient;
  let empty: NodeState;
  const started: (StartedPod & { readonly containers: readonly string[] })[] = [];

  before(async () => {
    node = await startTestNode();
    cri = new CriClient();
    await pull(cri, node.images.busybox);
    empty = nodeState();
  });
  after(async () => {
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  test(`start ${atATime} at a time`, async () => {
    const start = async (index: number): Promise<void> => {
      const pod = await runPod(cri, `dense-${index}`);
      const containers = await Promise.all(
        containersOfAPod.map(async (name) => await startIn(cri, pod, idleSpec(name, node.images.busybox))),
      );
      started.push({ ...pod, containers });
    };
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let index = next++; index < pods; index = next++) await start(index);
    };
    await Promise.all(Array.from({ length: atATime }, lane));
    assert.equal(started.length, pods);
  });

  const allContainers = (): string[] => started.flatMap(({ containers }) => containers).toSorted();
  const assertAllRun = async (): Promise<void> => {
    const listed = await listPods(cri);
    assert.deepEqual(listed.map(({ id }) => id).toSorted(), started.map(({ id }) => id).toSorted());
    assert.ok(listed.every(({ state }) => state === 'SANDBOX_READY'));
    const containers = await listContainers(cri);
    assert.deepEqual(containers.map(({ id }) => id).toSorted(), allContainers());
    assert.ok(containers.every(({ state }) => state === 'CONTAINER_RUNNING'));
  };

  test('all are listed as running, each with an address of its own', async () => {
    await assertAllRun();
    const addresses = new Set<string>();
    for (const { id } of started) {
      const { status } = await cri.call<{ status: PodStatus }>('PodSandboxStatus', { podSandboxId: id });
      addresses.add(status.network.ip);
    }
    assert.equal(addresses.size, pods);
  });

  test('all are measured', async () => {
    const { stats } = await cri.call<{ stats: readonly Usage[] }>('ListContainerStats');
    assert.deepEqual(stats.map(({ attributes }) => attributes.id).toSorted(), allContainers());
    for (const { attributes, cpu, memory } of stats) {
      assert.ok(BigInt(cpu?.usageCoreNanoSeconds.value ?? 0) > 0n, attributes.id);
      assert.ok(BigInt(memory?.workingSetBytes.value ?? 0) > 0n, attributes.id);
    }
    const ofPods = await cri.call<{ stats: readonly Usage[] }>('ListPodSandboxStats');
    assert.deepEqual(
      ofPods.stats.map(({ attributes }) => attributes.id).toSorted(),
      started.map(({ id }) => id).toSorted(),
    );
    await cri.call('ListPodSandboxMetrics');
  });

  test('the daemon killed and started again has all of them', async () => {
    await node.daemon.kill();
    await node.daemon.startAgain();
    await assertAllRun();
    const [first] = allContainers();
    assert.equal((await exec(cri, first ?? '', 'true')).exitCode, 0);
  });

  test('all are torn down, and nothing is left', async () => {
    const left = [...started];
    const lane = async (): Promise<void> => {
      for (let pod = left.pop(); pod !== undefined; pod = left.pop()) await removePod(cri, pod.id);
    };
    await Promise.all(Array.from({ length: atATime }, lane));
    assert.deepEqual([await listPods(cri), await listContainers(cri)], [[], []]);
    await assertNothingLeft(withDaemon(empty, node.daemon.pid));
  });
});
