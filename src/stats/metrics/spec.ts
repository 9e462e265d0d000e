import { type ContainerFamily, gauge, wholeSeconds } from './family.ts';

const defaultPeriodUs = 100_000;

/** When the container was made and seen, and the limits that are in force: the request's, changed by updates. */
export const specFamilies: readonly ContainerFamily[] = [
  gauge('container_last_seen', 'When the container was last seen, Unix time in seconds.', ({ usage }) =>
    wholeSeconds(usage.readAtNs),
  ),
  gauge(
    'container_start_time_seconds',
    'When the container was started (made, before its start), Unix time in seconds.',
    ({ usage: { container } }) =>
      wholeSeconds(
        BigInt(container.state.name === 'running' ? container.state.startedAtNs : container.createdAtNs),
      ),
  ),
  gauge(
    'container_spec_cpu_period',
    'Length of a period of the processor quota, in microseconds.',
    ({ usage: { container } }) => container.resources.cpuPeriodUs ?? defaultPeriodUs,
  ),
  gauge(
    'container_spec_cpu_quota',
    'Processor time in a period, in microseconds; no value without a quota.',
    ({ usage: { container } }) => {
      const { cpuQuotaUs = 0 } = container.resources;
      return cpuQuotaUs > 0 ? cpuQuotaUs : undefined;
    },
  ),
  gauge(
    'container_spec_cpu_shares',
    'Weight among neighbours as the request gave it, 0 when it gave none.',
    ({ usage: { container } }) => container.resources.cpuShares ?? 0,
  ),
  gauge(
    'container_spec_memory_limit_bytes',
    'Memory limit, in bytes, 0 without one.',
    ({ usage: { container } }) => limit(container.resources.memoryLimitBytes),
  ),
  gauge(
    'container_spec_memory_swap_limit_bytes',
    'Limit of memory and swap together, in bytes, 0 without one.',
    ({ usage: { container } }) => limit(container.resources.memorySwapLimitBytes),
  ),
  gauge(
    'container_spec_memory_reservation_limit_bytes',
    'Memory that is not reclaimed from the container (memory.min), in bytes, 0 without any.',
    ({ usage: { container } }) => reservation(container.resources.unified?.['memory.min']),
  ),
];

/** The CRI's negative numbers mean no limit. */
function limit(bytes: number | undefined): number {
  return Math.max(bytes ?? 0, 0);
}

function reservation(text: string | undefined): bigint | undefined {
  if (text === undefined) return 0n;
  // `max`, or with a unit: the kernel knows what it is, the wire has no number for it.
  return /^\d+$/.test(text.trim()) ? BigInt(text.trim()) : undefined;
}
