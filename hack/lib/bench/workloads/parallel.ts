/** Whole lives of pods, many at once: what a node does when it is drained and filled again. */
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { type Durations, removePod, startPod } from '../pods.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const widths = [8, 10];
const livesPerWorker = 10;

export async function parallel(context: WorkloadContext): Promise<void> {
  const { measurements, registry, say } = context;
  for (const width of widths)
    await alternating(context, async (engine, round) => {
      const workload = `${width} parallel`;
      const startedAt = performance.now();
      const lives = await Promise.all(
        Array.from({ length: width }, async () => await live(engine, busyboxReference(registry))),
      );
      const seconds = (performance.now() - startedAt) / 1000;
      const of = { workload, engine: engine.name };
      measurements.add(
        { ...of, operation: 'pod lifecycles', unit: '1/s' },
        (width * livesPerWorker) / seconds,
      );
      for (const durations of lives.flat())
        for (const [operation, ms] of Object.entries(durations))
          measurements.add({ ...of, operation, unit: 'ms' }, ms);
      say(`${workload}: ${engine.name}, round ${round + 1}`);
    });
}

async function live(engine: Engine, image: string): Promise<Durations[]> {
  const lives: Durations[] = [];
  for (let count = 0; count < livesPerWorker; count += 1) {
    const { pod, durations } = await startPod(engine, { image });
    lives.push({ ...durations, ...(await removePod(engine, pod)) });
  }
  return lives;
}
