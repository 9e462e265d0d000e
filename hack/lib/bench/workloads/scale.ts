/** What it costs to have many pods: the lists and stats that a kubelet asks for, and memory. */
import { setTimeout as sleep } from 'node:timers/promises';
import { prepare } from '../cri.ts';
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { proportionalSetMb } from '../memory.ts';
import { type Pod, removePod, startPod } from '../pods.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const questions = [
  'Version',
  'Status',
  'ListContainers',
  'ListPodSandbox',
  'ListContainerStats',
  'ListPodSandboxStats',
  'ListImages',
] as const;
const askedPerRound = 20;
const restMs = 40_000;
/** What an engine goes on with after its turn is not the other's: three hundred shims collect garbage for seconds. */
const settleMs = 5000;
const startedAtOnce = 4;

export async function scale(context: WorkloadContext): Promise<void> {
  const { engines, measurements, podCounts, registry, say } = context;
  const pods = new Map<Engine, Pod[]>(engines.map((engine) => [engine, []]));
  const remember = async (count: number): Promise<void> => {
    // On a node it is for hours that nothing is started.
    await sleep(restMs);
    for (const engine of engines) measureMemory(context, engine, count);
  };
  await remember(0);
  for (const count of podCounts) {
    for (const engine of engines) {
      await fill(engine, pods.get(engine) ?? [], { count, image: busyboxReference(registry) });
      say(`scale: ${engine.name} has ${count} pods`);
    }
    await alternating(context, async (engine) => {
      await sleep(settleMs);
      for (const question of questions)
        for (let asked = 0; asked < askedPerRound; asked += 1) {
          const { durationMs } = await engine.cri.send(prepare(question));
          const of = {
            workload: `${count} pods`,
            operation: question,
            unit: 'ms',
            engine: engine.name,
          } as const;
          measurements.add(of, durationMs);
        }
    });
    await remember(count);
  }
  for (const engine of engines) await empty(engine, pods.get(engine) ?? []);
}

/** Starts pods until there are so many. */
export async function fill(
  engine: Engine,
  pods: Pod[],
  { count, image }: { readonly count: number; readonly image: string },
): Promise<void> {
  while (pods.length < count) {
    const wanted = Math.min(startedAtOnce, count - pods.length);
    const started = await Promise.all(
      Array.from({ length: wanted }, async () => await startPod(engine, { image })),
    );
    pods.push(...started.map(({ pod }) => pod));
  }
}

/** Removes them all. */
export async function empty(engine: Engine, pods: readonly Pod[]): Promise<void> {
  for (let at = 0; at < pods.length; at += startedAtOnce)
    await Promise.all(pods.slice(at, at + startedAtOnce).map(async (pod) => await removePod(engine, pod)));
}

function measureMemory({ measurements }: WorkloadContext, engine: Engine, count: number): void {
  const { daemon, helpers } = engine.pids();
  const of = { workload: `${count} pods`, unit: 'MB', engine: engine.name } as const;
  const daemonMb = proportionalSetMb(daemon);
  const helpersMb = proportionalSetMb(helpers);
  measurements.add({ ...of, operation: 'PSS of the daemon' }, daemonMb);
  // And the one that stands beside.
  measurements.add({ ...of, operation: 'PSS of helpers per pod' }, helpersMb / (count + 1));
  measurements.add({ ...of, operation: 'PSS of all' }, daemonMb + helpersMb);
}
