import type { MemoryStats } from '../../cgroups/stats.ts';
import { type ContainerFamily, counter, gauge, type Sample } from './family.ts';

/** What is charged to the container, by kind. */
export const memoryFamilies: readonly ContainerFamily[] = [
  bytes('usage_bytes', 'Memory charged, file cache included, in bytes.', (memory) => memory.usageBytes),
  bytes(
    'working_set_bytes',
    'Memory charged without the file cache that would be dropped first, in bytes.',
    (memory) => memory.workingSetBytes,
  ),
  bytes('rss', 'Anonymous memory, in bytes.', (memory) => memory.rssBytes),
  bytes('cache', 'File cache, in bytes.', (memory) => memory.cacheBytes),
  bytes('mapped_file', 'File cache that is mapped, in bytes.', (memory) => memory.mappedFileBytes),
  bytes('kernel_usage', 'Memory of the kernel, in bytes.', (memory) => memory.kernelBytes),
  bytes('swap', 'Swap in use, in bytes.', (memory) => memory.swapBytes),
  bytes('max_usage_bytes', 'Most memory ever charged, in bytes.', (memory) => memory.maxUsageBytes),
  bytes(
    'total_active_file_bytes',
    'File cache that was used lately, in bytes.',
    (memory) => memory.activeFileBytes,
  ),
  bytes(
    'total_inactive_file_bytes',
    'File cache that was not used lately, in bytes.',
    (memory) => memory.inactiveFileBytes,
  ),
  counter(
    'container_memory_failcnt',
    'Times that an allocation hit the memory limit.',
    ({ usage }) => usage.cgroup.memory?.limitHits,
  ),
  {
    name: 'container_memory_failures_total',
    help: 'Page faults, by kind; scope container is without the cgroups below where the host tells them apart (cgroup v1).',
    type: 'counter',
    labels: ['failure_type', 'scope'],
    read: ({ usage }) => (usage.cgroup.memory === undefined ? [] : pageFaults(usage.cgroup.memory)),
  },
];

function bytes(
  name: string,
  help: string,
  read: (memory: MemoryStats) => number | undefined,
): ContainerFamily {
  return gauge(`container_memory_${name}`, help, ({ usage: { cgroup } }) =>
    cgroup.memory === undefined ? undefined : read(cgroup.memory),
  );
}

function pageFaults({ pageFaults: all, majorPageFaults: major, own }: MemoryStats): Sample[] {
  return [
    { labels: ['pgfault', 'container'], value: own?.pageFaults ?? all },
    { labels: ['pgmajfault', 'container'], value: own?.majorPageFaults ?? major },
    { labels: ['pgfault', 'hierarchy'], value: all },
    { labels: ['pgmajfault', 'hierarchy'], value: major },
  ];
}
