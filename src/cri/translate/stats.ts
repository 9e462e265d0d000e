/** Usage -> the wire. */
import type {
  ContainerStats,
  CpuUsage,
  FilesystemUsage,
  IoUsage,
  MemoryUsage,
  NetworkInterfaceUsage,
  NetworkUsage,
  PodSandboxStats,
  PsiStats,
  SwapUsage,
  UInt64Value,
} from '../../gen/runtime/v1/api.ts';
import type { InterfaceCounters } from '../../stats/network-counters.ts';
import type { ContainerUsage, LayerUsage, PodUsage } from '../../stats/usage.ts';

type Pressure = NonNullable<NonNullable<ContainerUsage['cgroup']['pressure']>['cpu']>;
type CommonUsage = Pick<ContainerUsage, 'readAtNs' | 'cgroup' | 'usageNanoCores'>;

export function containerStatsToWire(usage: ContainerUsage): ContainerStats {
  const { container, writableLayer } = usage;
  return {
    attributes: {
      id: container.id,
      metadata: { ...container.config.metadata },
      labels: { ...container.config.labels },
      annotations: { ...container.config.annotations },
    },
    cpu: cpu(usage),
    memory: memory(usage),
    writableLayer: writableLayer === undefined ? undefined : layer(writableLayer),
    swap: swap(usage),
    io: io(usage),
  };
}

export function podStatsToWire(usage: PodUsage): PodSandboxStats {
  const { sandbox, cgroup, readAtNs } = usage;
  return {
    attributes: {
      id: sandbox.id,
      metadata: { ...sandbox.config.metadata },
      labels: { ...sandbox.config.labels },
      annotations: { ...sandbox.config.annotations },
    },
    linux: {
      cpu: cpu(usage),
      memory: memory(usage),
      network: network(usage),
      process:
        cgroup.pids === undefined
          ? undefined
          : { timestamp: readAtNs, processCount: wrapped(cgroup.pids.current) },
      containers: usage.containers.map(containerStatsToWire),
      io: io(usage),
    },
    windows: undefined,
  };
}

function cpu({ cgroup, readAtNs, usageNanoCores }: CommonUsage): CpuUsage | undefined {
  if (cgroup.cpu === undefined) return undefined;
  return {
    timestamp: readAtNs,
    usageCoreNanoSeconds: wrapped(cgroup.cpu.usageNs),
    usageNanoCores: usageNanoCores === undefined ? undefined : wrapped(usageNanoCores),
    psi: pressure(cgroup.pressure?.cpu),
  };
}

function memory({ cgroup, readAtNs }: CommonUsage): MemoryUsage | undefined {
  const numbers = cgroup.memory;
  if (numbers === undefined) return undefined;
  const { limitBytes, workingSetBytes } = numbers;
  return {
    timestamp: readAtNs,
    workingSetBytes: wrapped(workingSetBytes),
    availableBytes: limitBytes === undefined ? undefined : wrapped(Math.max(0, limitBytes - workingSetBytes)),
    usageBytes: wrapped(numbers.usageBytes),
    rssBytes: wrapped(numbers.rssBytes),
    pageFaults: wrapped(numbers.pageFaults),
    majorPageFaults: wrapped(numbers.majorPageFaults),
    psi: pressure(cgroup.pressure?.memory),
  };
}

function swap({ cgroup, readAtNs }: CommonUsage): SwapUsage | undefined {
  const { swapBytes, swapLimitBytes } = cgroup.memory ?? {};
  if (swapBytes === undefined) return undefined;
  return {
    timestamp: readAtNs,
    swapAvailableBytes:
      swapLimitBytes === undefined ? undefined : wrapped(Math.max(0, swapLimitBytes - swapBytes)),
    swapUsageBytes: wrapped(swapBytes),
  };
}

function io({ cgroup, readAtNs }: CommonUsage): IoUsage | undefined {
  const psi = pressure(cgroup.pressure?.io);
  return psi === undefined ? undefined : { timestamp: readAtNs, psi };
}

function layer({ mountpoint, usedBytes, usedInodes, timestampMs }: LayerUsage): FilesystemUsage {
  return {
    timestamp: BigInt(Math.round(timestampMs)) * 1_000_000n,
    fsId: { mountpoint },
    usedBytes: wrapped(usedBytes),
    inodesUsed: wrapped(usedInodes),
  };
}

function network({ interfaces, readAtNs }: PodUsage): NetworkUsage | undefined {
  const all = interfaces.map(networkInterface);
  if (all.length === 0) return undefined;
  return {
    timestamp: readAtNs,
    defaultInterface: all.find(({ name }) => name === 'eth0') ?? all[0],
    interfaces: all,
  };
}

function networkInterface(counters: InterfaceCounters): NetworkInterfaceUsage {
  return {
    name: counters.name,
    rxBytes: wrapped(counters.receivedBytes),
    rxErrors: wrapped(counters.receiveErrors),
    txBytes: wrapped(counters.sentBytes),
    txErrors: wrapped(counters.sendErrors),
  };
}

function pressure(measured: Pressure | undefined): PsiStats | undefined {
  if (measured === undefined) return undefined;
  const line = ({ avg10, avg60, avg300, totalUs }: Pressure['full']) => ({
    Total: totalUs * 1000n,
    Avg10: avg10,
    Avg60: avg60,
    Avg300: avg300,
  });
  return { Full: line(measured.full), Some: line(measured.some) };
}

function wrapped(value: number | bigint): UInt64Value {
  return { value: BigInt(value) };
}
