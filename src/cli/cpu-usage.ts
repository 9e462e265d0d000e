/** What `gantry stats` shows of a container. Pure. */
import type { ContainerStats, CpuUsage } from '../gen/runtime/v1/api.ts';

export interface ContainerUsage {
  readonly id: string;
  readonly name: string;
  /** Percent of one core; undefined while there is only one reading. */
  readonly cpuPercent: number | undefined;
  /** What the container needs to keep: the working set. */
  readonly memoryBytes: number | undefined;
  /** Used and limit; undefined without a limit. */
  readonly memoryPercent: number | undefined;
  readonly writtenBytes: number | undefined;
}

/** The usage of each container, measured between two readings where the daemon has no rate of its own yet. */
export function usageOf(
  stats: readonly ContainerStats[],
  earlier: readonly ContainerStats[],
): ContainerUsage[] {
  const earlierById = new Map(earlier.map((one) => [idOf(one), one]));
  return stats.map((one) => {
    const memoryBytes = numberOf(one.memory?.workingSetBytes?.value);
    const availableBytes = numberOf(one.memory?.availableBytes?.value);
    return {
      id: idOf(one),
      name: one.attributes?.metadata?.name ?? '',
      cpuPercent: cpuPercent(one, earlierById.get(idOf(one))),
      memoryBytes,
      memoryPercent: shareOf(memoryBytes, availableBytes),
      writtenBytes: numberOf(one.writableLayer?.usedBytes?.value),
    };
  });
}

function cpuPercent(now: ContainerStats, before: ContainerStats | undefined): number | undefined {
  const measured = before?.cpu === undefined ? undefined : rateBetween(before.cpu, now.cpu);
  const nanoCores = measured ?? numberOf(now.cpu?.usageNanoCores?.value);
  return nanoCores === undefined ? undefined : nanoCores / 1e7;
}

/** Billionths of a core; undefined when the readings are no pair, as after a restart. */
function rateBetween(before: CpuUsage, now: CpuUsage | undefined): number | undefined {
  const used = now?.usageCoreNanoSeconds?.value;
  const usedBefore = before.usageCoreNanoSeconds?.value;
  if (now === undefined || used === undefined || usedBefore === undefined) return undefined;
  const elapsedNs = now.timestamp - before.timestamp;
  return elapsedNs <= 0n || used < usedBefore
    ? undefined
    : (Number(used - usedBefore) * 1e9) / Number(elapsedNs);
}

/** Without a limit the CRI leaves out or sets to 0 what is still available. */
function shareOf(used: number | undefined, available: number | undefined): number | undefined {
  if (used === undefined || available === undefined || available === 0) return undefined;
  return (used / (used + available)) * 100;
}

function idOf(stats: ContainerStats): string {
  return stats.attributes?.id ?? '';
}

function numberOf(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
