/** What a daemon costs that has nothing to do: the kubelet asks for its lists each second and for its stats each ten. */
import { setTimeout as sleep } from 'node:timers/promises';
import { prepare } from '../cri.ts';
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { processorMs } from '../memory.ts';
import { empty, fill, type Pod } from '../pods.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const seconds = 10;
const podsAtMost = 100;
const perSecond = ['ListPodSandbox', 'ListContainers'] as const;
const perTenSeconds = ['ListContainerStats', 'ListPodSandboxStats', 'ImageFsInfo', 'Status'] as const;

export async function polling(context: WorkloadContext): Promise<void> {
  const { engines, measurements, podCounts, registry, say } = context;
  const count = Math.min(podsAtMost, podCounts.at(-1) ?? 0);
  const pods = new Map<Engine, Pod[]>(engines.map((engine) => [engine, []]));
  for (const engine of engines)
    await fill(engine, pods.get(engine) ?? [], { count, image: busyboxReference(registry) });
  await alternating(context, async (engine, round) => {
    const { daemon } = engine.pids();
    const before = processorMs(daemon);
    const startedAt = performance.now();
    for (let second = 0; second < seconds; second += 1) {
      for (const question of perSecond) await engine.cri.send(prepare(question));
      if (second === 0) for (const question of perTenSeconds) await engine.cri.send(prepare(question));
      await sleep(Math.max(0, startedAt + (second + 1) * 1000 - performance.now()));
    }
    const share = ((processorMs(daemon) - before) / (performance.now() - startedAt)) * 100;
    const of = { workload: `${count} pods`, operation: 'CPU under polling', unit: '% CPU' } as const;
    measurements.add({ ...of, engine: engine.name }, share);
    say(`polling: ${engine.name}, round ${round + 1}`);
  });
  for (const engine of engines) await empty(engine, pods.get(engine) ?? []);
}
