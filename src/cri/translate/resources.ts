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
    memoryLimitBytes: integerOrUnset(wire.memoryLimitInBytes, `${field}.memory_limit_in_bytes`),
    memorySwapLimitBytes: integerOrUnset(wire.memorySwapLimitInBytes, `${field}.memory_swap_limit_in_bytes`),
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
