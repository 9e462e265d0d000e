import type { PressureLine } from '../../cgroups/stats.ts';
import { type ContainerFamily, counter } from './family.ts';

const microsecondsPerSecond = 1_000_000n;

/** Pressure stall information: of a cgroup2 hierarchy, with PSI switched on in the kernel. */
export const pressureFamilies: readonly ContainerFamily[] = (['cpu', 'io', 'memory'] as const).flatMap(
  (resource) => [
    counter(
      `container_pressure_${resource}_stalled_seconds_total`,
      `Time in which no task got on for want of ${resource}, in seconds.`,
      ({ usage }) => total(usage.cgroup.pressure?.[resource]?.full),
    ),
    counter(
      `container_pressure_${resource}_waiting_seconds_total`,
      `Time in which some task waited for ${resource}, in seconds.`,
      ({ usage }) => total(usage.cgroup.pressure?.[resource]?.some),
    ),
  ],
);

function total(line: PressureLine | undefined): bigint | undefined {
  return line === undefined ? undefined : line.totalUs / microsecondsPerSecond;
}
