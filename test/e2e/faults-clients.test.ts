// test-minutes: 10
/** Clients that leave in the middle, and more of them than the machine can serve at once. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { status, type ServiceError } from '@grpc/grpc-js';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  pull,
  removePod,
  runPod,
  startIn,
  statusOf,
  untilFile,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import type { ImageInfo } from './engine/wire.ts';

const rounds = 10;
/** About as long as the longest of the requests takes. */
const leaveWithinMs = 80;
const manyPods = 300;
const minuteMs = 60_000;

describeNode('clients', { isEmptiedAfterEach: true }, ({ cri, node }) => {
  /** Calls, leaves after a moment (every other time by its deadline), and tells how that ended. */
  const leave = async (
    method: string,
    request: Readonly<Record<string, unknown>>,
    round: number,
  ): Promise<void> => {
    const afterMs = randomInt(leaveWithinMs);
    const controller = new AbortController();
    const options = round % 2 === 0 ? { timeoutMs: afterMs } : { signal: controller.signal };
    const outcome = cri.call(method, request, options).then(
      () => 'done',
      (error: ServiceError) => status[error.code],
    );
    await sleep(afterMs);
    controller.abort();
    console.log(`${method}: left after ${afterMs} ms: ${await outcome}`);
  };

  describe('one that leaves in the middle asks again, and is served (containerd issues 4604, 9947, cri-o issue 8906)', () => {
    test('RunPodSandbox', async () => {
      for (let round = 0; round < rounds; round += 1) {
        const config = podSpec(`p${round}`);
        await leave('RunPodSandbox', { config }, round);
        const { podSandboxId } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', { config });
        assert.deepEqual(
          (await listPods(cri)).map(({ id }) => id),
          [podSandboxId],
        );
        await removePod(cri, podSandboxId);
      }
    });

    test('CreateContainer', async () => {
      const pod = await runPod(cri, 'p');
      for (let round = 0; round < rounds; round += 1) {
        const config = idleSpec(`c${round}`, node.images.busybox);
        const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
        await leave('CreateContainer', request, round);
        const containerId = await createIn(cri, pod, config);
        assert.deepEqual(
          (await listContainers(cri)).map(({ id }) => id),
          [containerId],
        );
        await cri.call('StartContainer', { containerId });
        await cri.call('RemoveContainer', { containerId });
      }
    });

    test('StartContainer and StopContainer', async () => {
      const pod = await runPod(cri, 'p');
      for (let round = 0; round < rounds; round += 1) {
        const containerId = await createIn(cri, pod, idleSpec(`c${round}`, node.images.busybox));
        await leave('StartContainer', { containerId }, round);
        // What a client does that does not know: it asks.
        if ((await statusOf(cri, containerId)).state === 'CONTAINER_CREATED')
          await cri.call('StartContainer', { containerId }).catch(async (error: ServiceError) => {
            // The first request was under way still.
            assert.match(error.details, /running/);
          });
        assert.equal((await exec(cri, containerId, 'true')).exitCode, 0);
        await leave('StopContainer', { containerId, timeout: '20' }, round);
        await cri.call('StopContainer', { containerId, timeout: '20' });
        const { state, exitCode } = await statusOf(cri, containerId);
        assert.deepEqual([state, exitCode], ['CONTAINER_EXITED', 0]);
        await leave('RemoveContainer', { containerId }, round);
        await cri.call('RemoveContainer', { containerId });
      }
    });

    test('StopPodSandbox and RemovePodSandbox', async () => {
      for (let round = 0; round < rounds; round += 1) {
        const pod = await runPod(cri, `p${round}`);
        await startIn(cri, pod, idleSpec('idle', node.images.busybox));
        await leave('StopPodSandbox', { podSandboxId: pod.id }, round);
        await leave('RemovePodSandbox', { podSandboxId: pod.id }, round);
        await removePod(cri, pod.id);
        assert.deepEqual([await listPods(cri), await listContainers(cri)], [[], []]);
      }
    });

    test('PullImage', async () => {
      for (let round = 0; round < rounds; round += 1) {
        await leave('PullImage', { image: { image: node.images.web } }, round);
        const id = await pull(cri, node.images.web);
        const { images } = await cri.call<{ images: readonly ImageInfo[] }>('ListImages');
        assert.ok(images.some((image) => image.id === id));
        await cri.call('RemoveImage', { image: { image: id } });
      }
    });

    test('a waiting StopContainer that was given up does not hold up the next', async () => {
      const pod = await runPod(cri, 'p');
      const command = ['sh', '-c', 'trap "" TERM; touch /deaf; while :; do sleep 1; done'];
      const containerId = await startIn(cri, pod, containerSpec('deaf', node.images.busybox, { command }));
      await untilFile(cri, containerId, '/deaf');
      await rejectsWith(
        cri.call('StopContainer', { containerId, timeout: '3600' }, { timeoutMs: 300 }),
        'DEADLINE_EXCEEDED',
        /./,
      );
      await cri.call('StopContainer', { containerId, timeout: '0' });
      assert.equal((await statusOf(cri, containerId)).exitCode, 137);
    });
  });

  test('a name that is in use by another request is refused, naming who has it', async () => {
    const pod = await runPod(cri, 'p');
    const other = podSpec('p', { labels: { app: 'another' } });
    await rejectsWith(cri.call('RunPodSandbox', { config: other }), 'ALREADY_EXISTS', new RegExp(pod.id));
    const id = await createIn(cri, pod, idleSpec('c', node.images.busybox));
    await rejectsWith(
      createIn(cri, pod, idleSpec('c', node.images.busybox, { tty: true })),
      'ALREADY_EXISTS',
      new RegExp(id),
    );
    await cri.call('StartContainer', { containerId: id });
    await rejectsWith(
      createIn(cri, pod, idleSpec('c', node.images.busybox)),
      'ALREADY_EXISTS',
      new RegExp(id),
    );
  });

  test(`${manyPods} pods at once are made one after the other, and others are heard meanwhile`, async () => {
    const options = { timeoutMs: 5 * minuteMs };
    const running = Array.from({ length: manyPods }, async (_none, index) => {
      const { podSandboxId } = await cri.call<{ podSandboxId: string }>(
        'RunPodSandbox',
        { config: podSpec(`many-${index}`) },
        options,
      );
      return podSandboxId;
    });
    const outcomes = Promise.allSettled(running);
    await cri.call('Version');
    await cri.call('Status');
    const made = (await outcomes).flatMap((outcome) => {
      if (outcome.status === 'fulfilled') return [outcome.value];
      // Orderly: the machine has no more of something, and says of what.
      const { code, details } = outcome.reason as ServiceError;
      assert.equal(status[code], 'RESOURCE_EXHAUSTED', details);
      return [];
    });
    console.log(`${made.length} of ${manyPods} pods were made`);
    assert.deepEqual((await listPods(cri)).map(({ id }) => id).toSorted(), made.toSorted());
    const removed = made.map(async (podSandboxId) => {
      await cri.call('StopPodSandbox', { podSandboxId }, options);
      await cri.call('RemovePodSandbox', { podSandboxId }, options);
    });
    await Promise.all(removed);
    assert.deepEqual(await listPods(cri), []);
  });
});
