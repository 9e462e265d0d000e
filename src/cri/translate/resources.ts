/** Limits of containers and pods, both ways. */
import type { LinuxContainerResources } from '../../gen/runtime/v1/api.ts';
import type { LinuxResources } from '../../sandbox/pod-config.ts';
import { integer, integerOrUnset, textOf } from './fields.ts';

export function resourcesFromWire(wire: LinuxContainerResources | undefined, field: string): LinuxResources {
  if (wire === undefined) return { hugepageLimits: [] };
  return {
    cpuPeriodUs: integerOrUnset(wire.cpuPeriod, `${field}.cpu_period`),
    cpuQuotaUs: integerOrUnset(wire.cpuQuota, `${field}.cpu_quota`),
    cpuShares: integerOrUnset(wire.cpuShares, `${field}.cpu_shares`),
    cpusetCpus: textOf(wire.cpusetCpus),
    cpusetMems: textOf(wire.cpusetMems),
    memoryLimitBytes: memoryOrUnset(wire.memoryLimitInBytes, `${field}.memory_limit_in_bytes`),
    memorySwapLimitBytes: memoryOrUnset(wire.memorySwapLimitInBytes, `${field}.memory_swap_limit_in_bytes`),
    oomScoreAdj: integerOrUnset(wire.oomScoreAdj, `${field}.oom_score_adj`),
    hugepageLimits: wire.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      limitBytes: integer(limit, `${field}.hugepage_limits`),
    })),
    unified: Object.keys(wire.unified).length === 0 ? undefined : wire.unified,
  };
}

export function resourcesToWire(resources: LinuxResources): LinuxContainerResources {
  return {
    cpuPeriod: BigInt(resources.cpuPeriodUs ?? 0),
    cpuQuota: BigInt(resources.cpuQuotaUs ?? 0),
    cpuShares: BigInt(resources.cpuShares ?? 0),
    memoryLimitInBytes: BigInt(resources.memoryLimitBytes ?? 0),
    memorySwapLimitInBytes: BigInt(resources.memorySwapLimitBytes ?? 0),
    oomScoreAdj: BigInt(resources.oomScoreAdj ?? 0),
    cpusetCpus: resources.cpusetCpus ?? '',
    cpusetMems: resources.cpusetMems ?? '',
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limitBytes }) => ({
      pageSize,
      limit: BigInt(limitBytes),
    })),
    unified: { ...resources.unified },
  };
}

/** Below it no kernel's number for "no limit" lies: the largest 64-bit integer, rounded down to a page of any size. */
const leastUnlimited = (1n << 63n) - 65_536n;

/** The kubelet passes on what it has read in a v1 cgroup without a limit; -1 means the same everywhere else. */
function memoryOrUnset(value: bigint, field: string): number | undefined {
  return value >= leastUnlimited ? -1 : integerOrUnset(value, field);
}
