import { setTimeout as sleep } from 'node:timers/promises';
import type { Engine } from './engine.ts';
import { busyboxReference } from './images.ts';
import { type Pod, removePod, startPod } from './pods.ts';
import type { Measurements } from './samples.ts';

/** What every workload is given. */
export interface WorkloadContext {
  /** Ours first. */
  readonly engines: readonly Engine[];
  readonly measurements: Measurements;
  /** `host:port`. */
  readonly registry: string;
  /** The OCI runtime's file. */
  readonly runtime: string;
  readonly rounds: number;
  /** Before each turn: both engines delete files after their answer, and the disk has their writes to do. */
  readonly settleMs: number;
  /** Numbers of pods, in ascending order. */
  readonly podCounts: readonly number[];
  readonly say: (text: string) => void;
}

export type Workload = (context: WorkloadContext) => Promise<void>;

/** How many of each engine stand beside what is measured. */
export const standingPods = 1;

/** Keeps one pod of each engine alive while `work` goes on, as on a node, where a pod is hardly ever the only one. */
export async function besideOnePod(
  { engines, registry }: Pick<WorkloadContext, 'engines' | 'registry'>,
  work: () => Promise<void>,
): Promise<void> {
  const image = busyboxReference(registry);
  const standing: (readonly [Engine, Pod])[] = [];
  for (const engine of engines) standing.push([engine, (await startPod(engine, { image })).pod]);
  await work();
  for (const [engine, pod] of standing) await removePod(engine, pod);
}

/**
 * Does something with each engine in turn, `rounds` times; who begins changes, so that with an even number neither comes second more often.
 * The others stand still meanwhile: a node has one engine, whose own unrest is part of what it costs, and not of what another one does.
 */
export async function alternating(
  { engines, rounds, settleMs }: Pick<WorkloadContext, 'engines' | 'rounds' | 'settleMs'>,
  work: (engine: Engine, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? engines : engines.toReversed();
    for (const engine of order) {
      await sleep(settleMs);
      using stack = new DisposableStack();
      for (const other of engines) if (other !== engine) stack.use(other.freeze());
      await work(engine, round);
    }
  }
}
