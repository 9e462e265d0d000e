/** What it costs to have many pods: the lists and stats that a kubelet asks for, one pod more, and memory. */
import { setTimeout as sleep } from 'node:timers/promises';
import { prepare } from '../cri.ts';
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { anonymousMb, proportionalSetMb } from '../memory.ts';
import { type Durations, empty, execTrue, fill, type Pod, removePod, startPod } from '../pods.ts';
import { alternating, standingPods, type WorkloadContext } from '../workload.ts';

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
const podsPerRound = 5;
const restMs = 40_000;

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
      const record = (operation: string, ms: number): void =>
        measurements.add({ workload: `${count} pods`, operation, unit: 'ms', engine: engine.name }, ms);
      for (const question of questions)
        for (let asked = 0; asked < askedPerRound; asked += 1)
          record(question, (await engine.cri.send(prepare(question))).durationMs);
      for (let more = 0; more < podsPerRound; more += 1)
        for (const [operation, ms] of Object.entries(await liveBeside(engine, busyboxReference(registry))))
          record(operation, ms);
    });
    await remember(count);
  }
  for (const engine of engines) await empty(engine, pods.get(engine) ?? []);
}

/** How long each call of one pod's life takes. */
async function liveBeside(engine: Engine, image: string): Promise<Durations> {
  const { pod, durations } = await startPod(engine, { image });
  const { durationMs } = await engine.cri.send(execTrue(pod));
  return { ...durations, 'ExecSync true': durationMs, ...(await removePod(engine, pod)) };
}

function measureMemory({ measurements }: WorkloadContext, engine: Engine, count: number): void {
  const { daemon, helpers } = engine.pids();
  const of = { workload: `${count} pods`, unit: 'MB', engine: engine.name } as const;
  const daemonMb = proportionalSetMb(daemon);
  const helpersMb = proportionalSetMb(helpers);
  measurements.add({ ...of, operation: 'PSS of the daemon' }, daemonMb);
  measurements.add({ ...of, operation: 'PSS of the daemon, anonymous' }, anonymousMb(daemon));
  measurements.add({ ...of, operation: 'PSS of helpers per pod' }, helpersMb / (count + standingPods));
  measurements.add({ ...of, operation: 'PSS of all' }, daemonMb + helpersMb);
}
