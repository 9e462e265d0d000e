/** From the start of a daemon to the first list that has all the containers that ran meanwhile. */
import { decode, prepare } from '../cri.ts';
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { empty, fill, type Pod } from '../pods.ts';
import { alternating, standingPods, type WorkloadContext } from '../workload.ts';

const limitMs = 120_000;
const restartsAtMost = 4;

export async function restart(context: WorkloadContext): Promise<void> {
  const { engines, measurements, podCounts, registry, rounds, say } = context;
  const count = podCounts.at(-1) ?? 0;
  const pods = new Map<Engine, Pod[]>(engines.map((engine) => [engine, []]));
  for (const engine of engines)
    await fill(engine, pods.get(engine) ?? [], { count, image: busyboxReference(registry) });
  await alternating({ ...context, rounds: Math.min(rounds, restartsAtMost) }, async (engine) => {
    await engine.stop();
    const startedAt = performance.now();
    await engine.start();
    await untilComplete(engine, count);
    const ms = performance.now() - startedAt;
    measurements.add(
      { workload: `${count} pods`, operation: 'restart', unit: 'ms', engine: engine.name },
      ms,
    );
    say(`restart: ${engine.name} with ${count} pods`);
  });
  for (const engine of engines) await empty(engine, pods.get(engine) ?? []);
}

async function untilComplete({ name, cri }: Engine, count: number): Promise<void> {
  const running = prepare('ListContainers', { filter: { state: { state: 'CONTAINER_RUNNING' } } });
  const deadline = performance.now() + limitMs;
  while (performance.now() < deadline) {
    const answer = await cri.send(running).catch(() => undefined);
    const listed = answer && decode<{ containers: readonly object[] }>('ListContainers', answer).containers;
    if (listed?.length === count + standingPods) return;
  }
  throw new Error(`${name} does not list ${count} containers`);
}
