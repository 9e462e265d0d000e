/**
 * The metrics that the kubelet serves at /metrics/cadvisor when it asks the runtime: cAdvisor's names, so that dashboards go on working.
 * One table gives the descriptors and the values, so that both have the same labels.
 */
import type { DeviceIo, PressureLine } from '../cgroups/stats.ts';
import type { ProcessFacts } from './process-facts.ts';
import type { ContainerUsage } from './usage.ts';

/** Everything that the metrics of one container are made from. */
export interface ContainerFacts {
  readonly usage: ContainerUsage;
  readonly processes: ProcessFacts;
  /** The file system of the writable layer. */
  readonly fileSystem?: {
    readonly device: string;
    readonly sizeBytes: bigint;
    readonly inodes: bigint;
    readonly freeInodes: bigint;
  };
}

/** One value; `labels` are those of the family beyond the ones that all have. */
export interface Sample {
  readonly labels?: readonly string[];
  readonly value: bigint | number;
}

export interface MetricFamily<Facts> {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  /** Beyond the common labels. */
  readonly labels?: readonly string[];
  readonly read: (facts: Facts) => readonly Sample[];
}

const nsPerSecond = 1_000_000_000n;

export const containerFamilies: readonly MetricFamily<ContainerFacts>[] = [
  counter('container_cpu_usage_seconds_total', 'Processor time used', ({ usage }) =>
    seconds(usage.cgroup.cpu?.usageNs),
  ),
  counter('container_cpu_user_seconds_total', 'Processor time used in user mode', ({ usage }) =>
    seconds(usage.cgroup.cpu?.userNs),
  ),
  counter('container_cpu_system_seconds_total', 'Processor time used in the kernel', ({ usage }) =>
    seconds(usage.cgroup.cpu?.systemNs),
  ),
  counter('container_cpu_cfs_periods_total', 'Periods of the processor quota that have passed', ({ usage }) =>
    one(usage.cgroup.cpu?.periods),
  ),
  counter('container_cpu_cfs_throttled_periods_total', 'Periods in which the quota ran out', ({ usage }) =>
    one(usage.cgroup.cpu?.throttledPeriods),
  ),
  counter('container_cpu_cfs_throttled_seconds_total', 'Time spent waiting for the next quota', ({ usage }) =>
    seconds(usage.cgroup.cpu?.throttledNs),
  ),
  gauge('container_memory_usage_bytes', 'Memory charged, file cache included', ({ usage }) =>
    one(usage.cgroup.memory?.usageBytes),
  ),
  gauge('container_memory_working_set_bytes', 'Memory charged without inactive file cache', ({ usage }) =>
    one(usage.cgroup.memory?.workingSetBytes),
  ),
  gauge('container_memory_rss', 'Anonymous memory', ({ usage }) => one(usage.cgroup.memory?.rssBytes)),
  gauge('container_memory_cache', 'File cache', ({ usage }) => one(usage.cgroup.memory?.cacheBytes)),
  gauge('container_memory_mapped_file', 'Mapped file cache', ({ usage }) =>
    one(usage.cgroup.memory?.mappedFileBytes),
  ),
  gauge('container_memory_kernel_usage', 'Kernel memory', ({ usage }) =>
    one(usage.cgroup.memory?.kernelBytes),
  ),
  gauge('container_memory_swap', 'Swap used', ({ usage: { cgroup } }) =>
    one(cgroup.memory === undefined ? undefined : (cgroup.memory.swapBytes ?? 0)),
  ),
  gauge('container_memory_max_usage_bytes', 'Most memory charged so far', ({ usage: { cgroup } }) =>
    one(cgroup.memory?.maxUsageBytes ?? cgroup.memory?.usageBytes),
  ),
  gauge('container_memory_total_active_file_bytes', 'File cache in use lately', ({ usage }) =>
    one(usage.cgroup.memory?.activeFileBytes),
  ),
  gauge('container_memory_total_inactive_file_bytes', 'File cache not in use lately', ({ usage }) =>
    one(usage.cgroup.memory?.inactiveFileBytes),
  ),
  counter('container_memory_failcnt', 'Times that the memory limit was hit', ({ usage }) =>
    one(usage.cgroup.memory?.limitHits),
  ),
  {
    ...counter('container_memory_failures_total', 'Page faults', ({ usage: { cgroup } }) =>
      cgroup.memory === undefined
        ? []
        : [
            { labels: ['pgfault', 'hierarchy'], value: cgroup.memory.pageFaults },
            { labels: ['pgmajfault', 'hierarchy'], value: cgroup.memory.majorPageFaults },
          ],
    ),
    labels: ['failure_type', 'scope'],
  },
  counter('container_oom_events_total', 'Processes killed for want of memory', ({ usage }) =>
    one(usage.cgroup.memory?.oomKills),
  ),
  {
    ...gauge('container_hugetlb_usage_bytes', 'Huge pages in use', ({ usage }) =>
      (usage.cgroup.hugepages ?? []).map(({ pageSize, bytes }) => ({ labels: [pageSize], value: bytes })),
    ),
    labels: ['pagesize'],
  },
  ...pressureFamilies(),
  ...diskFamilies(),
  ...fileSystemFamilies(),
  ...processFamilies(),
  ...specFamilies(),
];

function pressureFamilies(): MetricFamily<ContainerFacts>[] {
  return (['cpu', 'memory', 'io'] as const).flatMap((resource) => [
    counter(
      `container_pressure_${resource}_waiting_seconds_total`,
      `Time in which some task waited for ${resource}`,
      (facts) => stalled(facts.usage.cgroup.pressure?.[resource]?.some),
    ),
    counter(
      `container_pressure_${resource}_stalled_seconds_total`,
      `Time in which all tasks waited for ${resource}`,
      (facts) => stalled(facts.usage.cgroup.pressure?.[resource]?.full),
    ),
  ]);
}

function diskFamilies(): MetricFamily<ContainerFacts>[] {
  const perDevice = (
    name: string,
    help: string,
    value: (io: DeviceIo) => bigint,
  ): MetricFamily<ContainerFacts> => ({
    ...counter(name, help, ({ usage }) =>
      (usage.cgroup.io ?? []).map((io) => ({ labels: [`${io.major}:${io.minor}`], value: value(io) })),
    ),
    labels: ['device'],
  });
  return [
    perDevice('container_fs_reads_total', 'Reads completed', (io) => io.reads),
    perDevice('container_fs_writes_total', 'Writes completed', (io) => io.writes),
    perDevice('container_fs_reads_bytes_total', 'Bytes read', (io) => io.readBytes),
    perDevice('container_fs_writes_bytes_total', 'Bytes written', (io) => io.writeBytes),
    {
      ...counter('container_blkio_device_usage_total', 'Bytes moved by device and operation', ({ usage }) =>
        (usage.cgroup.io ?? []).flatMap(({ major, minor, readBytes, writeBytes }) => [
          { labels: ['', String(major), String(minor), 'Read'], value: readBytes },
          { labels: ['', String(major), String(minor), 'Write'], value: writeBytes },
        ]),
      ),
      labels: ['device', 'major', 'minor', 'operation'],
    },
  ];
}

function fileSystemFamilies(): MetricFamily<ContainerFacts>[] {
  const ofFileSystem = (
    name: string,
    help: string,
    value: (fileSystem: NonNullable<ContainerFacts['fileSystem']>, facts: ContainerFacts) => bigint | number,
  ): MetricFamily<ContainerFacts> => ({
    ...gauge(name, help, (facts) =>
      facts.fileSystem === undefined
        ? []
        : [{ labels: [facts.fileSystem.device], value: value(facts.fileSystem, facts) }],
    ),
    labels: ['device'],
  });
  return [
    ofFileSystem(
      'container_fs_usage_bytes',
      'Size of the writable layer',
      (_fs, { usage }) => usage.writableLayer?.usedBytes ?? 0,
    ),
    ofFileSystem(
      'container_fs_limit_bytes',
      'Size of the file system of the writable layer',
      (fs) => fs.sizeBytes,
    ),
    ofFileSystem(
      'container_fs_inodes_total',
      'Inodes of the file system of the writable layer',
      (fs) => fs.inodes,
    ),
    ofFileSystem('container_fs_inodes_free', 'Free inodes of that file system', (fs) => fs.freeInodes),
  ];
}

function processFamilies(): MetricFamily<ContainerFacts>[] {
  return [
    gauge('container_processes', 'Processes', ({ processes }) => one(processes.processes)),
    gauge('container_threads', 'Threads', ({ usage }) => one(usage.cgroup.pids?.current)),
    gauge('container_threads_max', 'Most threads allowed, 0 without a limit', ({ usage: { cgroup } }) =>
      one(cgroup.pids === undefined ? undefined : (cgroup.pids.limit ?? 0)),
    ),
    gauge('container_file_descriptors', 'Open file descriptors', ({ processes }) =>
      one(processes.fileDescriptors),
    ),
    gauge('container_sockets', 'Open sockets', ({ processes }) => one(processes.sockets)),
    {
      ...gauge('container_ulimits_soft', 'Soft limits of the first process', ({ processes }) =>
        processes.softLimits.map(({ name, value }) => ({ labels: [name], value })),
      ),
      labels: ['ulimit'],
    },
  ];
}

function specFamilies(): MetricFamily<ContainerFacts>[] {
  return [
    gauge('container_last_seen', 'When the container was last seen', ({ usage }) => seconds(usage.readAtNs)),
    gauge('container_start_time_seconds', 'When the container was started', ({ usage: { container } }) =>
      seconds(
        BigInt(container.state.name === 'running' ? container.state.startedAtNs : container.createdAtNs),
      ),
    ),
    gauge(
      'container_spec_cpu_period',
      'Length of a period of the quota, microseconds',
      ({ usage: { container } }) => one(container.resources.cpuPeriodUs ?? 100_000),
    ),
    gauge('container_spec_cpu_quota', 'Quota of a period, microseconds', ({ usage: { container } }) =>
      positive(container.resources.cpuQuotaUs),
    ),
    gauge('container_spec_cpu_shares', 'Weight among neighbours', ({ usage: { container } }) =>
      one(container.resources.cpuShares ?? 0),
    ),
    gauge('container_spec_memory_limit_bytes', 'Memory limit, 0 without one', ({ usage: { container } }) =>
      one(Math.max(container.resources.memoryLimitBytes ?? 0, 0)),
    ),
    gauge(
      'container_spec_memory_swap_limit_bytes',
      'Limit of memory and swap, 0 without one',
      ({ usage: { container } }) => one(Math.max(container.resources.memorySwapLimitBytes ?? 0, 0)),
    ),
    gauge('container_spec_memory_reservation_limit_bytes', 'Memory kept for the container', () => one(0)),
  ];
}

type Read = MetricFamily<ContainerFacts>['read'];

function counter(name: string, help: string, read: Read): MetricFamily<ContainerFacts> {
  return { name, help, type: 'counter', read };
}

function gauge(name: string, help: string, read: Read): MetricFamily<ContainerFacts> {
  return { name, help, type: 'gauge', read };
}

function one(value: bigint | number | undefined): Sample[] {
  return value === undefined ? [] : [{ value }];
}

function positive(value: number | undefined): Sample[] {
  return value === undefined || value <= 0 ? [] : [{ value }];
}

/** The wire has whole numbers only. */
function seconds(ns: bigint | undefined): Sample[] {
  return one(ns === undefined ? undefined : ns / nsPerSecond);
}

function stalled(line: PressureLine | undefined): Sample[] {
  return one(line === undefined ? undefined : line.totalUs / 1_000_000n);
}
