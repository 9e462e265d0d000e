/** What a cgroup uses. A group of numbers is absent where the host does not count it or the cgroup is gone. */

/** What a kubelet asks of every container again and again. */
export interface CgroupUsage {
  readonly cpu?: Pick<CpuStats, 'usageNs'>;
  readonly memory?: MemoryUsage;
  readonly pids?: { readonly current: number };
  /** From the cgroup2 hierarchy, also of a hybrid host, where the kernel measures it. */
  readonly pressure?: { readonly cpu?: Pressure; readonly memory?: Pressure; readonly io?: Pressure };
}

export interface CgroupStats extends CgroupUsage {
  readonly cpu?: CpuStats;
  readonly memory?: MemoryStats;
  readonly pids?: { readonly current: number; readonly limit?: number };
  readonly io?: readonly DeviceIo[];
  readonly hugepages?: readonly HugepageStats[];
}

export interface HugepageStats {
  /** As the files are named: `2MB`. */
  readonly pageSize: string;
  readonly bytes: number;
  /** cgroup v1 only. */
  readonly maxBytes?: number;
}

/** Times since the cgroup was made. */
export interface CpuStats {
  readonly usageNs: bigint;
  readonly userNs: bigint;
  readonly systemNs: bigint;
  /** The quota's numbers are absent where the cpu controller is not handed down to the cgroup. */
  readonly periods?: number;
  readonly throttledPeriods?: number;
  readonly throttledNs?: bigint;
}

export interface MemoryUsage {
  readonly usageBytes: number;
  /** Usage without the file cache that the kernel would drop first. */
  readonly workingSetBytes: number;
  readonly limitBytes?: number;
  readonly rssBytes: number;
  readonly pageFaults: bigint;
  readonly majorPageFaults: bigint;
  readonly swapBytes?: number;
  readonly swapLimitBytes?: number;
}

export interface MemoryStats extends MemoryUsage {
  readonly maxUsageBytes?: number;
  readonly cacheBytes: number;
  readonly mappedFileBytes: number;
  readonly kernelBytes?: number;
  readonly activeFileBytes: number;
  readonly inactiveFileBytes: number;
  /** Without the cgroups below. cgroup v1 only. */
  readonly own?: { readonly pageFaults: bigint; readonly majorPageFaults: bigint };
  /** How often the limit was hit. */
  readonly limitHits: number;
  readonly oomKills: number;
}

export interface DeviceIo {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: bigint;
  readonly writeBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

/** https://www.kernel.org/doc/html/latest/accounting/psi.html: averages in percent, totals of stalled time. */
export interface Pressure {
  readonly some: PressureLine;
  readonly full: PressureLine;
}

export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalUs: bigint;
}
