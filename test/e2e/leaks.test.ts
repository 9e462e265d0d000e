// test-minutes: 15
/**
 * Pod lifecycles in a row: what the daemon and the node hold at the end is what they held at the beginning. 100 of them, or as
 * many as GANTRY_TEST_LIFECYCLES says (`npm run test:leaks`: 300).
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CriClient } from './engine/cri-client.ts';
import { type Holdings, holdingsOf } from './engine/holdings.ts';
import { memoryOf } from './engine/inspect-memory.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import {
  createIn,
  exec,
  pull,
  removePod,
  runPod,
  startIn,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually } from './engine/wait.ts';

const skip = engineSkipReason() ?? false;
const lifecycles = Number(process.env['GANTRY_TEST_LIFECYCLES'] ?? 100);
/** The heap and the pools find their size in the first of them. */
const warmUp = 30;
/** What may come on top, however many follow, after a full collection: a leak of a few kilobytes a pod is more. */
const mebibyte = 1024 * 1024;
const maxGrowth = {
  heapBytes: 2 * mebibyte,
  externalBytes: 2 * mebibyte,
  residentBytes: 48 * mebibyte,
} as const;

describe(`${lifecycles} pod lifecycles`, { skip }, () => {
  let node: TestNode;
  let cri: CriClient;
  let empty: NodeState;

  before(async () => {
    // What is kept of requests has found its size when the warm-up ends.
    node = await startTestNode('[traces]\nkept_requests = 20\n');
    cri = new CriClient();
    await pull(cri, node.images.busybox);
    empty = nodeState();
    for (let round = 0; round < warmUp; round += 1) await lifecycle(round);
  });
  after(async () => {
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  /** Everything that a pod's life has: several namespaces, ends of every kind, exec, stats, attach. */
  const lifecycle = async (round: number): Promise<void> => {
    const isShared = round % 2 === 0;
    const linux = { securityContext: { namespaceOptions: { pid: isShared ? 'POD' : 'CONTAINER' } } };
    const pod = await runPod(cri, `life-${round}`, {
      linux,
      portMappings: round % 5 === 0 ? [{ protocol: 'TCP', containerPort: 80, hostPort: 8080 }] : [],
    });
    const idle = await startIn(
      cri,
      pod,
      idleSpec('idle', node.images.busybox, { linux, tty: round % 3 === 0 }),
    );
    const brief = await startIn(
      cri,
      pod,
      containerSpec('brief', node.images.busybox, { command: ['sh', '-c', 'echo said; exit 3'], linux }),
    );
    assert.equal((await exec(cri, idle, 'echo', String(round))).stdout, String(round));
    await cri.call('ContainerStats', { containerId: idle });
    await cri.call('ListPodSandboxStats');
    await cri.call('Attach', { containerId: idle, stdout: true, tty: round % 3 === 0 });
    assert.equal((await untilState(cri, brief, 'CONTAINER_EXITED')).exitCode, 3);
    await createIn(cri, pod, idleSpec('never-started', node.images.busybox, { linux }));
    await assert.rejects(cri.call('StartContainer', { containerId: brief }));
    await assert.rejects(
      createIn(
        cri,
        pod,
        containerSpec('refused', node.images.busybox, {
          mounts: [{ hostPath: '/none', containerPath: '/x' }],
        }),
      ),
    );
    if (round % 4 === 0) {
      await cri.call('StopContainer', { containerId: idle, timeout: '20' });
      assert.equal((await statusOf(cri, idle)).state, 'CONTAINER_EXITED');
      await cri.call('RemoveContainer', { containerId: idle });
    }
    await removePod(cri, pod.id);
  };

  test('leave descriptors, threads, rows, memory and the node as they were', async () => {
    const { pid } = node.daemon;
    const memoryBefore = await memoryOf(pid);
    const before = holdingsOf(pid);
    const countsBefore = counts({ ...before, ...nodeState() });
    for (let round = 0; round < lifecycles; round += 1) await lifecycle(round);
    // Threads that have nothing to do end after a while.
    await eventually(
      'descriptors, threads and rows',
      () => isEmpty(more(before, holdingsOf(pid))) || undefined,
    ).catch(() => assert.deepEqual(more(before, holdingsOf(pid)), {}));
    const memory = await memoryOf(pid);
    console.log(JSON.stringify({ memoryBefore, memory }));
    console.log(JSON.stringify({ countsBefore, counts: counts({ ...holdingsOf(pid), ...nodeState() }) }));
    for (const [kind, maxBytes] of Object.entries(maxGrowth)) {
      const name = kind as keyof typeof maxGrowth;
      assert.ok(
        memory[name] < memoryBefore[name] + maxBytes,
        `${kind}: ${memoryBefore[name]} grew to ${memory[name]}`,
      );
    }
    await assertNothingLeft(empty);
  });
});

function counts(lists: Readonly<Record<string, readonly string[]>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(lists).map(([kind, lines]) => [kind, lines.length]));
}

/** What `after` has more of than `before`. */
function more(before: Holdings, after: Holdings): Partial<Record<keyof Holdings, readonly string[]>> {
  const extra: Partial<Record<keyof Holdings, readonly string[]>> = {};
  for (const kind of ['descriptors', 'threads', 'rows'] as const) {
    const known = [...before[kind]];
    const left = after[kind].filter((line) => {
      const place = known.indexOf(line);
      if (place !== -1) known.splice(place, 1);
      return place === -1;
    });
    if (left.length > 0) extra[kind] = left;
  }
  return extra;
}

function isEmpty(object: object): boolean {
  return Object.keys(object).length === 0;
}
