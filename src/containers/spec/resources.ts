/** Limits: from the request's words to those of the OCI spec, for create and for update. */
import { EngineError } from '../../lib/errors.ts';
import type {
  CpuResources,
  HugepageLimit,
  LinuxResources as OciResources,
  MemoryResources,
} from '../../oci/spec-types.ts';
import type { LinuxResources } from '../../sandbox/pod-config.ts';
import type { HostFacts } from './host-facts.ts';
import { invalidField } from './invalid-field.ts';

const mebibyte = 1024 * 1024;

/**
 * The limits of a container, without devices. What is not given is not set, and never written as zero.
 *
 * @throws EngineError invalid-argument that names the field, failed-precondition when the host cannot set it
 */
export function buildResources(resources: LinuxResources, host: HostFacts): OciResources {
  const cpu = buildCpu(resources);
  const memory = buildMemory(resources, host);
  const hugepageLimits = buildHugepages(resources, host);
  const unified = buildUnified(resources, host);
  const { pidsLimit } = resources;
  checkRange('pids_limit', pidsLimit, [-1, Number.MAX_SAFE_INTEGER]);
  return {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
    ...(hugepageLimits.length === 0 ? {} : { hugepageLimits }),
    ...(unified === undefined ? {} : { unified }),
    ...(pidsLimit === undefined ? {} : { pids: { limit: pidsLimit } }),
  };
}

/**
 * The same for a cgroup that is still to be made. With cgroup v1 it begins without a quota, which crun 1.8 cannot be told.
 *
 * @throws EngineError as buildResources
 */
export function buildFirstResources(resources: LinuxResources, host: HostFacts): OciResources {
  const built = buildResources(resources, host);
  return host.cgroupVersion === 'v1' && takesQuotaAway(built) ? withoutQuota(built) : built;
}

/** Whether there is to be no quota, in so many words. */
export function takesQuotaAway({ cpu }: OciResources): boolean {
  return (cpu?.quota ?? 0) < 0;
}

/** What a quota is to be is not said. */
export function withoutQuota({ cpu, ...rest }: OciResources): OciResources {
  const { quota: _, ...others } = cpu ?? {};
  return { ...rest, cpu: others };
}

/** What is in force after an update: its values where it has any, else the old ones; maps and lists by their keys. */
export function mergeResources(current: LinuxResources, update: LinuxResources): LinuxResources {
  const given = Object.fromEntries(Object.entries(update).filter(([, value]) => value !== undefined));
  const pages = new Map(
    [...current.hugepageLimits, ...update.hugepageLimits].map((limit) => [limit.pageSize, limit]),
  );
  const unified = { ...current.unified, ...update.unified };
  // An old swap limit says nothing about a new memory limit, and may lie below it.
  const staleSwap = update.memoryLimitBytes !== undefined && update.memorySwapLimitBytes === undefined;
  return {
    ...current,
    ...(staleSwap ? { memorySwapLimitBytes: undefined } : {}),
    ...given,
    hugepageLimits: [...pages.values()],
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

function buildCpu({
  cpuPeriodUs,
  cpuQuotaUs,
  cpuShares,
  cpusetCpus,
  cpusetMems,
  cpuRealtimePeriodUs,
  cpuRealtimeRuntimeUs,
}: LinuxResources): CpuResources | undefined {
  checkRange('cpu_period', cpuPeriodUs, [1000, 1_000_000]);
  checkRange('cpu_quota', cpuQuotaUs, [-1, Number.MAX_SAFE_INTEGER]);
  if (cpuQuotaUs !== undefined && cpuQuotaUs >= 0 && cpuQuotaUs < 1000) {
    throw invalidField('cpu_quota', `${cpuQuotaUs} is below the kernel’s minimum of 1000 microseconds`);
  }
  checkRange('cpu_shares', cpuShares, [0, Number.MAX_SAFE_INTEGER]);
  checkRange('cpu_realtime_period', cpuRealtimePeriodUs, [0, Number.MAX_SAFE_INTEGER]);
  checkRange('cpu_realtime_runtime', cpuRealtimeRuntimeUs, [-1, Number.MAX_SAFE_INTEGER]);
  checkCpuset('cpuset_cpus', cpusetCpus);
  checkCpuset('cpuset_mems', cpusetMems);
  const cpu: CpuResources = {
    // The kernel's own bounds; Kubernetes does send smaller and larger numbers.
    ...(cpuShares === undefined ? {} : { shares: Math.min(Math.max(cpuShares, 2), 262_144) }),
    ...(cpuQuotaUs === undefined ? {} : { quota: cpuQuotaUs }),
    ...(cpuPeriodUs === undefined ? {} : { period: cpuPeriodUs }),
    ...(cpusetCpus === undefined ? {} : { cpus: cpusetCpus }),
    ...(cpusetMems === undefined ? {} : { mems: cpusetMems }),
    ...(cpuRealtimePeriodUs === undefined ? {} : { realtimePeriod: cpuRealtimePeriodUs }),
    ...(cpuRealtimeRuntimeUs === undefined ? {} : { realtimeRuntime: cpuRealtimeRuntimeUs }),
  };
  return Object.keys(cpu).length === 0 ? undefined : cpu;
}

function buildMemory(resources: LinuxResources, host: HostFacts): MemoryResources | undefined {
  const { memoryLimitBytes: limit, memorySwapLimitBytes: swap } = resources;
  checkRange('memory_limit_in_bytes', limit, [-1, Number.MAX_SAFE_INTEGER]);
  checkRange('memory_swap_limit_in_bytes', swap, [-1, Number.MAX_SAFE_INTEGER]);
  const minimum = minMemoryBytes(host.runtimeName);
  if (limit !== undefined && limit >= 0 && limit < minimum) {
    throw invalidField(
      'memory_limit_in_bytes',
      `${limit} is too low: ${host.runtimeName} needs ${minimum} to start a process`,
    );
  }
  if (swap !== undefined && swap >= 0 && (limit ?? -1) > swap) {
    throw invalidField(
      'memory_swap_limit_in_bytes',
      `${swap} is below the memory limit of ${limit}, which it includes`,
    );
  }
  // Without a swap limit of its own a container with a memory limit does not swap.
  const total = swap ?? limit;
  const memory: MemoryResources = {
    ...(limit === undefined ? {} : { limit }),
    ...(total === undefined || !host.swapAccounting ? {} : { swap: total }),
    ...buildMemoryRest(resources),
  };
  return Object.keys(memory).length === 0 ? undefined : memory;
}

/** What only plugins ask for. */
function buildMemoryRest({
  memoryReservationBytes: reservation,
  memorySwappiness: swappiness,
  oomKillerDisabled,
}: LinuxResources): MemoryResources {
  checkRange('memory_reservation', reservation, [-1, Number.MAX_SAFE_INTEGER]);
  checkRange('memory_swappiness', swappiness, [0, 100]);
  return {
    ...(reservation === undefined ? {} : { reservation }),
    ...(swappiness === undefined ? {} : { swappiness }),
    ...(oomKillerDisabled === undefined ? {} : { disableOOMKiller: oomKillerDisabled }),
  };
}

/** A runtime's first process runs inside the limit already; one in Go needs more of it. */
function minMemoryBytes(runtimeName: string): number {
  return runtimeName === 'crun' ? mebibyte / 2 : 6 * mebibyte;
}

/** The kubelet lists every page size of the node, with zero for those not asked for. */
function buildHugepages({ hugepageLimits }: LinuxResources, host: HostFacts): HugepageLimit[] {
  const limits: HugepageLimit[] = [];
  for (const { pageSize, limitBytes } of hugepageLimits) {
    if (!/^\d+(?:KB|MB|GB)$/.test(pageSize)) {
      throw invalidField(
        'hugepage_limits.page_size',
        `${JSON.stringify(pageSize)} is not a size such as 2MB`,
      );
    }
    checkRange('hugepage_limits.limit', limitBytes, [0, Number.MAX_SAFE_INTEGER]);
    if (host.hugepageSizes.includes(pageSize)) {
      limits.push({ pageSize, limit: limitBytes });
    } else if (limitBytes > 0) {
      const known = host.hugepageSizes.join(', ');
      const why = known === '' ? 'has no hugetlb controller' : `has pages of ${known}, not of ${pageSize}`;
      throw new EngineError('failed-precondition', `hugepage_limits: the node ${why}`);
    }
  }
  return limits;
}

function buildUnified({ unified }: LinuxResources, host: HostFacts): Record<string, string> | undefined {
  if (unified === undefined || Object.keys(unified).length === 0) return undefined;
  if (host.cgroupVersion !== 'v2') {
    throw new EngineError('failed-precondition', 'unified: the node has no cgroup v2 controllers');
  }
  for (const [file, value] of Object.entries(unified)) {
    // `cgroup.*` moves, freezes and kills: it is ours. A slash would lead to another cgroup.
    if (!/^[a-z0-9_]+(?:\.[A-Za-z0-9_]+)+$/.test(file) || file.startsWith('cgroup.')) {
      throw invalidField('unified', `${JSON.stringify(file)} is not a limit of a cgroup`);
    }
    if (value.includes('\0')) throw invalidField(`unified[${file}]`, 'the value holds a NUL character');
  }
  return { ...unified };
}

function checkRange(field: string, value: number | undefined, [min, max]: readonly [number, number]): void {
  if (value === undefined) return;
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw invalidField(field, `${value} is not a whole number between ${min} and ${max}`);
  }
}

function checkCpuset(field: string, value: string | undefined): void {
  if (value !== undefined && !/^\d{1,6}(?:-\d{1,6})?(?:,\d{1,6}(?:-\d{1,6})?)*$/.test(value)) {
    throw invalidField(field, `${JSON.stringify(value)} is not a list such as 0-3,7`);
  }
}
