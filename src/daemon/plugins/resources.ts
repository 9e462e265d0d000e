/** Limits between the engine's words and the wire's. */
import {
  LinuxResources as WireResources,
  type LinuxCPU,
  type LinuxMemory,
} from '../../gen/nri/v1alpha1/api.ts';
import { EngineError } from '../../lib/errors.ts';
import type { LinuxResources } from '../../sandbox/pod-config.ts';
import { numberOf } from './numbers.ts';

interface Boxed {
  readonly value: bigint;
}

function box(value: number | undefined): Boxed | undefined {
  return value === undefined ? undefined : { value: BigInt(value) };
}

export function resourcesToWire(resources: LinuxResources): WireResources {
  return WireResources.fromPartial({
    memory: {
      limit: box(resources.memoryLimitBytes),
      reservation: box(resources.memoryReservationBytes),
      swap: box(resources.memorySwapLimitBytes),
      swappiness: box(resources.memorySwappiness),
      disableOomKiller:
        resources.oomKillerDisabled === undefined ? undefined : { value: resources.oomKillerDisabled },
    },
    cpu: {
      shares: box(resources.cpuShares),
      quota: box(resources.cpuQuotaUs),
      period: box(resources.cpuPeriodUs),
      realtimeRuntime: box(resources.cpuRealtimeRuntimeUs),
      realtimePeriod: box(resources.cpuRealtimePeriodUs),
      cpus: resources.cpusetCpus ?? '',
      mems: resources.cpusetMems ?? '',
    },
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limitBytes }) => ({
      pageSize,
      limit: BigInt(limitBytes),
    })),
    unified: resources.unified ?? {},
    pids: resources.pidsLimit === undefined ? undefined : { limit: BigInt(resources.pidsLimit) },
  });
}

/**
 * Only what is given. Limits of kernel memory and the hierarchy switch are passed over, as the kernel has dropped them.
 *
 * @throws EngineError invalid-argument that names the field, failed-precondition for a class that this node does not have
 */
export function resourcesFromWire(wire: WireResources): LinuxResources {
  if (wire.blockioClass !== undefined && wire.blockioClass.value !== '')
    throw new EngineError('failed-precondition', 'blockio_class: this node has no classes of block I/O');
  return withoutUndefined({
    ...memoryFromWire(wire.memory),
    ...cpuFromWire(wire.cpu),
    pidsLimit: wire.pids === undefined ? undefined : numberOf(wire.pids.limit, 'pids.limit'),
    hugepageLimits: wire.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      limitBytes: numberOf(limit, 'hugepage_limits.limit'),
    })),
    unified: Object.keys(wire.unified).length === 0 ? undefined : wire.unified,
  });
}

function memoryFromWire(memory: LinuxMemory | undefined): Partial<LinuxResources> {
  return {
    memoryLimitBytes: unbox(memory?.limit, 'memory.limit'),
    memoryReservationBytes: unbox(memory?.reservation, 'memory.reservation'),
    memorySwapLimitBytes: unbox(memory?.swap, 'memory.swap'),
    memorySwappiness: unbox(memory?.swappiness, 'memory.swappiness'),
    oomKillerDisabled: memory?.disableOomKiller?.value,
  };
}

function cpuFromWire(cpu: LinuxCPU | undefined): Partial<LinuxResources> {
  return {
    cpuShares: unbox(cpu?.shares, 'cpu.shares'),
    cpuQuotaUs: unbox(cpu?.quota, 'cpu.quota'),
    cpuPeriodUs: unbox(cpu?.period, 'cpu.period'),
    cpuRealtimeRuntimeUs: unbox(cpu?.realtimeRuntime, 'cpu.realtime_runtime'),
    cpuRealtimePeriodUs: unbox(cpu?.realtimePeriod, 'cpu.realtime_period'),
    cpusetCpus: cpu === undefined || cpu.cpus === '' ? undefined : cpu.cpus,
    cpusetMems: cpu === undefined || cpu.mems === '' ? undefined : cpu.mems,
  };
}

function unbox(value: Boxed | undefined, field: string): number | undefined {
  return value === undefined ? undefined : numberOf(value.value, field);
}

function withoutUndefined(resources: LinuxResources): LinuxResources {
  const given = Object.entries(resources).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as unknown as LinuxResources;
}
