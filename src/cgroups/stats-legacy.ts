/** The same numbers from the files of cgroup v1. */
import { type KeyedNumbers, readBigInt, readKeyed, readNumber, readText, type ReadText } from './files.ts';
import { controllerDirectory, type HostCgroups } from './host.ts';
import { present } from './present.ts';
import { readHugepageFiles, readPidCount, readPids, readPressures } from './stats-unified.ts';
import type { CgroupStats, CgroupUsage, CpuStats, DeviceIo, MemoryStats, MemoryUsage } from './stats.ts';

export function readLegacyUsage(host: HostCgroups, path: string, read: ReadText): CgroupUsage {
  const usageNs = readBigInt(controllerDirectory(host, 'cpuacct', path), 'cpuacct.usage', read);
  return present<CgroupUsage>({
    cpu: usageNs === undefined ? undefined : { usageNs },
    memory: readMemoryUsage(controllerDirectory(host, 'memory', path), read)?.usage,
    pids: readPidCount(controllerDirectory(host, 'pids', path), read),
    pressure: readPressure(host, path, read),
  });
}

export function readLegacyStats(host: HostCgroups, path: string): CgroupStats {
  return present<CgroupStats>({
    cpu: readCpu(host, path),
    memory: readMemory(controllerDirectory(host, 'memory', path)),
    pids: readPids(controllerDirectory(host, 'pids', path)),
    io: readIo(host, path),
    pressure: readPressure(host, path),
    hugepages: readHugepages(host, path),
  });
}

function readCpu(host: HostCgroups, path: string): CpuStats | undefined {
  const accounting = controllerDirectory(host, 'cpuacct', path);
  const usageNs = readBigInt(accounting, 'cpuacct.usage');
  if (usageNs === undefined) return undefined;
  const stat = readKeyed(controllerDirectory(host, 'cpu', path), 'cpu.stat');
  const times = {
    usageNs,
    userNs: readBigInt(accounting, 'cpuacct.usage_user') ?? 0n,
    systemNs: readBigInt(accounting, 'cpuacct.usage_sys') ?? 0n,
  };
  if (stat === undefined) return times;
  return {
    ...times,
    periods: Number(stat.get('nr_periods') ?? 0n),
    throttledPeriods: Number(stat.get('nr_throttled') ?? 0n),
    throttledNs: stat.get('throttled_time') ?? 0n,
  };
}

/** With the file from which most of it comes. */
function readMemoryUsage(
  directory: string | undefined,
  read: ReadText = readText,
): { readonly usage: MemoryUsage; readonly stat: KeyedNumbers } | undefined {
  const usageBytes = readNumber(directory, 'memory.usage_in_bytes', read);
  const stat = readKeyed(directory, 'memory.stat', read);
  if (usageBytes === undefined || stat === undefined) return undefined;
  const withSwap = readNumber(directory, 'memory.memsw.usage_in_bytes', read);
  const limitBytes = readNumber(directory, 'memory.limit_in_bytes', read);
  // Where no swap is counted there is no file for its limit either.
  const limitWithSwap =
    withSwap === undefined ? undefined : readNumber(directory, 'memory.memsw.limit_in_bytes', read);
  const usage = present<MemoryUsage>({
    usageBytes,
    workingSetBytes: Math.max(usageBytes - total(stat, 'inactive_file'), 0),
    limitBytes,
    rssBytes: total(stat, 'rss'),
    pageFaults: stat.get('total_pgfault') ?? 0n,
    majorPageFaults: stat.get('total_pgmajfault') ?? 0n,
    swapBytes: withSwap === undefined ? undefined : Math.max(withSwap - usageBytes, 0),
    swapLimitBytes:
      limitWithSwap === undefined || limitBytes === undefined ? undefined : limitWithSwap - limitBytes,
  });
  return { usage, stat };
}

function readMemory(directory: string | undefined): MemoryStats | undefined {
  const read = readMemoryUsage(directory);
  if (read === undefined) return undefined;
  const { usage, stat } = read;
  return present<MemoryStats>({
    ...usage,
    maxUsageBytes: readNumber(directory, 'memory.max_usage_in_bytes'),
    cacheBytes: total(stat, 'cache'),
    mappedFileBytes: total(stat, 'mapped_file'),
    kernelBytes: readNumber(directory, 'memory.kmem.usage_in_bytes'),
    activeFileBytes: total(stat, 'active_file'),
    inactiveFileBytes: total(stat, 'inactive_file'),
    own: { pageFaults: stat.get('pgfault') ?? 0n, majorPageFaults: stat.get('pgmajfault') ?? 0n },
    limitHits: readNumber(directory, 'memory.failcnt') ?? 0,
    oomKills: Number(readKeyed(directory, 'memory.oom_control')?.get('oom_kill') ?? 0n),
  });
}

/** With the cgroups below. */
function total(stat: KeyedNumbers, key: string): number {
  return Number(stat.get(`total_${key}`) ?? 0n);
}

/**
 * The cgroup2 hierarchy of a hybrid host measures pressure for whoever is in it: runtimes put their containers there too, but
 * not all of them do, and a cgroup that nobody is in would tell zeros.
 */
function readPressure(host: HostCgroups, path: string, read: ReadText = readText): CgroupStats['pressure'] {
  const directory = unifiedDirectory(host, path);
  return readKeyed(directory, 'cgroup.events', read)?.get('populated') === 1n
    ? readPressures(directory, read)
    : undefined;
}

/** A hybrid host may count huge pages in its cgroup2 hierarchy. */
function readHugepages(host: HostCgroups, path: string): CgroupStats['hugepages'] {
  const directory = controllerDirectory(host, 'hugetlb', path);
  if (directory !== undefined)
    return readHugepageFiles(directory, { bytes: 'usage_in_bytes', maxBytes: 'max_usage_in_bytes' });
  return readHugepageFiles(unifiedDirectory(host, path), { bytes: 'current' });
}

function unifiedDirectory(host: HostCgroups, path: string): string | undefined {
  if (host.layout === 'unified' || host.unifiedRoot === undefined) return undefined;
  return `${host.unifiedRoot}${path}`;
}

/** Lines such as `8:0 Read 4096`, and a last one with the total. */
function readIo(host: HostCgroups, path: string): DeviceIo[] | undefined {
  const directory = controllerDirectory(host, 'blkio', path);
  const bytes = readText(directory, 'blkio.throttle.io_service_bytes_recursive');
  if (bytes === undefined) return undefined;
  const counts = readText(directory, 'blkio.throttle.io_serviced_recursive') ?? '';
  const devices = [...new Set([...bytes.matchAll(/^(\d+:\d+) /gm)].map((match) => match[1] ?? ''))];
  return devices.map((device) => {
    const [major = '', minor = ''] = device.split(':');
    const of = (text: string, operation: string): bigint =>
      BigInt(new RegExp(`^${device} ${operation} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
    return {
      major: Number(major),
      minor: Number(minor),
      readBytes: of(bytes, 'Read'),
      writeBytes: of(bytes, 'Write'),
      reads: of(counts, 'Read'),
      writes: of(counts, 'Write'),
    };
  });
}
