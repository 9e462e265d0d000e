/** https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html: the files of one directory. */
import { type KeyedNumbers, listNames, readKeyed, readNumber, readText, type ReadText } from './files.ts';
import { controllerDirectory, type HostCgroups } from './host.ts';
import { present } from './present.ts';
import type {
  CgroupStats,
  CgroupUsage,
  CpuStats,
  DeviceIo,
  HugepageStats,
  MemoryStats,
  MemoryUsage,
  Pressure,
  PressureLine,
} from './stats.ts';

type UnifiedHost = Extract<HostCgroups, { layout: 'unified' }>;

export function readUnifiedUsage(host: UnifiedHost, path: string, read: ReadText): CgroupUsage {
  const directory = controllerDirectory(host, '', path);
  const usageUs = readKeyed(directory, 'cpu.stat', read)?.get('usage_usec');
  return present<CgroupUsage>({
    cpu: usageUs === undefined ? undefined : { usageNs: usageUs * 1000n },
    memory: readMemoryUsage(directory, read)?.usage,
    pids: readPidCount(directory, read),
    pressure: readPressures(directory, read),
  });
}

export function readUnifiedStats(host: UnifiedHost, path: string): CgroupStats {
  const directory = controllerDirectory(host, '', path);
  return present<CgroupStats>({
    cpu: readCpu(directory),
    memory: readMemory(directory),
    pids: readPids(directory),
    io: readIo(directory),
    pressure: readPressures(directory),
    hugepages: readHugepages(host.controllers, directory),
  });
}

function readCpu(directory: string | undefined): CpuStats | undefined {
  const stat = readKeyed(directory, 'cpu.stat');
  if (stat === undefined) return undefined;
  const of = (key: string): bigint => stat.get(key) ?? 0n;
  const times = {
    usageNs: of('usage_usec') * 1000n,
    userNs: of('user_usec') * 1000n,
    systemNs: of('system_usec') * 1000n,
  };
  if (stat.get('nr_periods') === undefined) return times;
  return {
    ...times,
    periods: Number(of('nr_periods')),
    throttledPeriods: Number(of('nr_throttled')),
    throttledNs: of('throttled_usec') * 1000n,
  };
}

/** With the file from which most of it comes. */
function readMemoryUsage(
  directory: string | undefined,
  read: ReadText = readText,
): { readonly usage: MemoryUsage; readonly stat: KeyedNumbers } | undefined {
  const usageBytes = readNumber(directory, 'memory.current', read);
  const stat = readKeyed(directory, 'memory.stat', read);
  if (usageBytes === undefined || stat === undefined) return undefined;
  const usage = present<MemoryUsage>({
    usageBytes,
    workingSetBytes: Math.max(usageBytes - Number(stat.get('inactive_file') ?? 0n), 0),
    limitBytes: readNumber(directory, 'memory.max', read),
    rssBytes: Number(stat.get('anon') ?? 0n),
    pageFaults: stat.get('pgfault') ?? 0n,
    majorPageFaults: stat.get('pgmajfault') ?? 0n,
    swapBytes: readNumber(directory, 'memory.swap.current', read),
    swapLimitBytes: readNumber(directory, 'memory.swap.max', read),
  });
  return { usage, stat };
}

function readMemory(directory: string | undefined): MemoryStats | undefined {
  const read = readMemoryUsage(directory);
  if (read === undefined) return undefined;
  const { usage, stat } = read;
  const events = readKeyed(directory, 'memory.events');
  const of = (key: string): bigint => stat.get(key) ?? 0n;
  return present<MemoryStats>({
    ...usage,
    maxUsageBytes: readNumber(directory, 'memory.peak'),
    cacheBytes: Number(of('file')),
    mappedFileBytes: Number(of('file_mapped')),
    kernelBytes: Number(stat.get('kernel') ?? of('kernel_stack') + of('slab')),
    activeFileBytes: Number(of('active_file')),
    inactiveFileBytes: Number(of('inactive_file')),
    limitHits: Number(events?.get('max') ?? 0n),
    oomKills: Number(events?.get('oom_kill') ?? 0n),
  });
}

/** The same file in both versions. */
export function readPidCount(directory: string | undefined, read: ReadText = readText): CgroupUsage['pids'] {
  const current = readNumber(directory, 'pids.current', read);
  return current === undefined ? undefined : { current };
}

/** With their limit. */
export function readPids(directory: string | undefined): CgroupStats['pids'] {
  const count = readPidCount(directory);
  if (count === undefined) return undefined;
  return present<NonNullable<CgroupStats['pids']>>({ ...count, limit: readNumber(directory, 'pids.max') });
}

/** Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`. */
function readIo(directory: string | undefined): DeviceIo[] | undefined {
  const text = readText(directory, 'io.stat');
  return text
    ?.split('\n')
    .map((line) => {
      const device = /^(\d+):(\d+) /.exec(line);
      const of = (key: string): bigint => BigInt(new RegExp(`\\b${key}=(\\d+)`).exec(line)?.[1] ?? 0);
      return {
        major: Number(device?.[1] ?? Number.NaN),
        minor: Number(device?.[2] ?? Number.NaN),
        readBytes: of('rbytes'),
        writeBytes: of('wbytes'),
        reads: of('rios'),
        writes: of('wios'),
      };
    })
    .filter((device) => !Number.isNaN(device.major));
}

const somePressure = /^some avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/m;
const fullPressure = /^full avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/m;

/** The files of pressure stall information; undefined where the kernel measures none. */
export function readPressures(
  directory: string | undefined,
  read: ReadText = readText,
): CgroupStats['pressure'] {
  const cpu = parsePressure(read(directory, 'cpu.pressure'));
  const memory = parsePressure(read(directory, 'memory.pressure'));
  const io = parsePressure(read(directory, 'io.pressure'));
  if (cpu === undefined && memory === undefined && io === undefined) return undefined;
  return present<NonNullable<CgroupStats['pressure']>>({ cpu, memory, io });
}

function parsePressure(text: string | undefined): Pressure | undefined {
  if (text === undefined) return undefined;
  return { some: pressureLine(somePressure.exec(text)), full: pressureLine(fullPressure.exec(text)) };
}

/** Zeros for a line that is not there, as that of `full` for processors before Linux 5.13. */
function pressureLine(match: RegExpExecArray | null): PressureLine {
  const [, avg10 = 0, avg60 = 0, avg300 = 0, total = 0] = match ?? [];
  return { avg10: Number(avg10), avg60: Number(avg60), avg300: Number(avg300), totalUs: BigInt(total) };
}

/** Page sizes differ from machine to machine: they are taken from the names of the files. */
function readHugepages(
  controllers: readonly string[],
  directory: string | undefined,
): CgroupStats['hugepages'] {
  if (!controllers.includes('hugetlb')) return undefined;
  return readHugepageFiles(directory, { bytes: 'current' });
}

/** The numbers in files named `hugetlb.<page size>.<suffix>`; undefined without any. */
export function readHugepageFiles(
  directory: string | undefined,
  suffixes: { readonly bytes: string; readonly maxBytes?: string },
): CgroupStats['hugepages'] {
  const found: HugepageStats[] = [];
  for (const name of listNames(directory)) {
    const pageSize = /^hugetlb\.(\d+[KMG]B)\.([\w.]+)$/.exec(name);
    const bytes = pageSize?.[2] === suffixes.bytes ? readNumber(directory, name) : undefined;
    if (bytes === undefined) continue;
    const size = pageSize?.[1] ?? '';
    const maxBytes =
      suffixes.maxBytes === undefined
        ? undefined
        : readNumber(directory, `hugetlb.${size}.${suffixes.maxBytes}`);
    found.push({ pageSize: size, bytes, ...(maxBytes === undefined ? {} : { maxBytes }) });
  }
  return found.length === 0 ? undefined : found.toSorted((a, b) => (a.pageSize < b.pageSize ? -1 : 1));
}
