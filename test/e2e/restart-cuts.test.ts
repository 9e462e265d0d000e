// test-minutes: 10
/** The daemon is killed in the middle of whatever it does: nothing is left that nothing names. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CriClient } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import {
  createIn,
  listContainers,
  listPods,
  pull,
  removeAllPods,
  removePod,
  runPod,
  startIn,
} from './engine/pod-steps.ts';
import { idleSpec, podSpec } from './engine/pods.ts';
import type { ImageInfo } from './engine/wire.ts';

/** How long after the beginning of a round's work the daemon is killed, at most: about as long as it takes. */
const cutWithinMs = 80;
const roundsOfEach = Number(process.env['GANTRY_TEST_ROUNDS'] ?? 4);

describeNode('the daemon killed in the middle of its work', {}, ({ cri, node, assertEmpty }) => {
  const isolated = { namespaceOptions: { pid: 'POD' } };
  /** Begins `work`, kills the daemon at some moment of it and starts the next one. */
  const cut = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const afterMs = randomInt(cutWithinMs);
    const outcome = work().then(
      () => 'done',
      () => 'cut short',
    );
    await sleep(afterMs);
    await node.daemon.kill();
    const end = await outcome;
    await node.daemon.startAgain();
    console.log(`${what}: killed after ${afterMs} ms, ${end}`);
    await assertNamed(cri);
  };

  const phases: Readonly<Record<string, (name: string) => Promise<void>>> = {
    RunPodSandbox: async (name) => {
      await cut(name, async () => await runPod(cri, name));
    },
    'RunPodSandbox of a shared PID namespace': async (name) => {
      const more = { linux: { securityContext: isolated } };
      await cut(name, async () => await runPod(cri, name, more));
    },
    CreateContainer: async (name) => {
      const pod = await runPod(cri, name);
      await cut(name, async () => await createIn(cri, pod, idleSpec('idle', node.images.busybox)));
    },
    StartContainer: async (name) => {
      const pod = await runPod(cri, name);
      const containerId = await createIn(cri, pod, idleSpec('idle', node.images.busybox));
      await cut(name, async () => await cri.call('StartContainer', { containerId }));
    },
    StopPodSandbox: async (name) => {
      const pod = await runPod(cri, name);
      await startIn(cri, pod, idleSpec('idle', node.images.busybox));
      await cut(name, async () => await removePod(cri, pod.id));
    },
    PullImage: async (name) => {
      await cut(name, async () => await pull(cri, node.images.web));
      const { images } = await cri.call<{ images: readonly ImageInfo[] }>('ListImages');
      for (const { id, repoTags } of images)
        if (repoTags.includes(node.images.web)) await cri.call('RemoveImage', { image: { image: id } });
    },
  };
  for (const [phase, run] of Object.entries(phases)) {
    test(`in ${phase}`, async () => {
      for (let round = 1; round <= roundsOfEach; round += 1) {
        const name = `${phase.toLowerCase().replaceAll(' ', '-')}-${round}`;
        await run(name);
        await removeAllPods(cri);
        await assertEmpty();
        // The name is free: nothing holds it as reserved.
        if (phase.includes('Sandbox')) await removePod(cri, (await runPod(cri, name)).id);
      }
    });
  }

  test('with many pods at once', async () => {
    for (let round = 1; round <= roundsOfEach; round += 1) {
      const names = Array.from({ length: 8 }, (_none, index) => `many-${round}-${index}`);
      await cut(`many ${round}`, async () => {
        await Promise.allSettled(
          names.map(async (name) => {
            const { podSandboxId: id } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', {
              config: podSpec(name),
            });
            await startIn(cri, { id, config: podSpec(name) }, idleSpec('idle', node.images.busybox));
            await removePod(cri, id);
          }),
        );
      });
      await removeAllPods(cri);
      await assertEmpty();
    }
  });
});

/** Every directory that the engine keeps for a pod or a container belongs to one that is listed. */
async function assertNamed(cri: CriClient): Promise<void> {
  const pods = (await listPods(cri)).map(({ id }) => id);
  const containers = (await listContainers(cri)).map(({ id }) => id);
  const directories = {
    '/run/gantry/sandboxes': pods,
    '/run/gantry/containers': containers,
    '/run/gantry/runtime/crun': [...pods, ...containers],
    '/run/gantry/runtime/runc': [...pods, ...containers],
    '/run/gantry/exits': [...pods, ...containers],
    '/var/lib/gantry/overlay/containers': containers,
  };
  for (const [directory, named] of Object.entries(directories)) {
    if (!existsSync(directory)) continue;
    const orphans = readdirSync(directory).filter((name) => !named.includes(name));
    assert.deepEqual(orphans, [], `${directory} has what nothing names`);
  }
}
