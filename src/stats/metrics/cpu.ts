import { type ContainerFamily, counter, wholeSeconds } from './family.ts';

/** Processor time and what the quota took away. */
export const cpuFamilies: readonly ContainerFamily[] = [
  counter('container_cpu_usage_seconds_total', 'Processor time used, in seconds.', ({ usage }) =>
    wholeSeconds(usage.cgroup.cpu?.usageNs),
  ),
  counter('container_cpu_user_seconds_total', 'Processor time used in user mode, in seconds.', ({ usage }) =>
    wholeSeconds(usage.cgroup.cpu?.userNs),
  ),
  counter(
    'container_cpu_system_seconds_total',
    'Processor time used in the kernel, in seconds.',
    ({ usage }) => wholeSeconds(usage.cgroup.cpu?.systemNs),
  ),
  counter(
    'container_cpu_cfs_periods_total',
    'Periods of the processor quota that have passed.',
    ({ usage }) => usage.cgroup.cpu?.periods,
  ),
  counter(
    'container_cpu_cfs_throttled_periods_total',
    'Periods in which the processor quota ran out.',
    ({ usage }) => usage.cgroup.cpu?.throttledPeriods,
  ),
  counter(
    'container_cpu_cfs_throttled_seconds_total',
    'Time spent waiting for the next period of the processor quota, in seconds.',
    ({ usage }) => wholeSeconds(usage.cgroup.cpu?.throttledNs),
  ),
];
