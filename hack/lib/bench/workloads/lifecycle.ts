/** One pod after the other, each call on its own: what a single pod waits for. */
import { busyboxReference } from '../images.ts';
import { execTrue, removePod, startPod } from '../pods.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const podsPerRound = 10;
const execsPerPod = 3;

const sums: Readonly<Record<string, readonly string[]>> = {
  'CreateContainer + StartContainer': ['CreateContainer', 'StartContainer'],
  'pod and container up': ['RunPodSandbox', 'CreateContainer', 'StartContainer'],
  'StopContainer + RemoveContainer': ['StopContainer', 'RemoveContainer'],
  'StopPodSandbox + RemovePodSandbox': ['StopPodSandbox', 'RemovePodSandbox'],
};

export async function lifecycle(context: WorkloadContext): Promise<void> {
  const { measurements, registry } = context;
  const image = busyboxReference(registry);
  await alternating(context, async (engine, round) => {
    const record = (operation: string, ms: number): void =>
      measurements.add({ workload: 'lifecycle', operation, unit: 'ms', engine: engine.name }, ms);
    for (let count = 0; count < podsPerRound; count += 1) {
      const { pod, durations: up } = await startPod(engine, { image });
      for (let exec = 0; exec < execsPerPod; exec += 1)
        record('ExecSync true', (await engine.cri.send(execTrue(pod))).durationMs);
      const durations: Record<string, number> = { ...up, ...(await removePod(engine, pod)) };
      for (const [operation, ms] of Object.entries(durations)) record(operation, ms);
      for (const [operation, parts] of Object.entries(sums))
        record(
          operation,
          parts.reduce((sum, part) => sum + (durations[part] ?? 0), 0),
        );
    }
    context.say(`lifecycle: ${engine.name}, round ${round + 1}`);
  });
}
