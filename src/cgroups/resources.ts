/**
 * Limits as cgroup v2 file writes: pure functions from the `resources` of an OCI spec, in the order in which the kernel takes them.
 * https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html
 */
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

/** The resources of an OCI runtime spec, as far as cgroup v2 has files for them. Bytes; -1 is unlimited; microseconds. */
export interface CgroupResources {
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly period?: number;
    readonly burst?: number;
    readonly idle?: number;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly memory?: {
    readonly limit?: number;
    readonly reservation?: number;
    /** Memory and swap together. */
    readonly swap?: number;
  };
  readonly pids?: { readonly limit: number };
  readonly blockIO?: BlockIo;
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[];
  readonly rdma?: Readonly<Record<string, { readonly hcaHandles?: number; readonly hcaObjects?: number }>>;
  readonly unified?: Readonly<Record<string, string>>;
}

interface BlockIo {
  readonly weight?: number;
  readonly weightDevice?: readonly {
    readonly major: number;
    readonly minor: number;
    readonly weight?: number;
  }[];
  readonly throttleReadBpsDevice?: readonly Throttle[];
  readonly throttleWriteBpsDevice?: readonly Throttle[];
  readonly throttleReadIOPSDevice?: readonly Throttle[];
  readonly throttleWriteIOPSDevice?: readonly Throttle[];
}

interface Throttle {
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

/** One file of a cgroup's directory and the text that is written to it, in one write call. */
export interface CgroupWrite {
  readonly file: string;
  readonly value: string;
}

const defaultPeriodUs = 100_000;

/**
 * Every write that the resources ask for. Keys of `unified` come last and win.
 * @throws EngineError invalid-argument naming the field
 */
export function resourceWrites(resources: CgroupResources): CgroupWrite[] {
  return [
    ...cpuWrites(resources.cpu ?? {}),
    ...memoryWrites(resources.memory ?? {}),
    ...pidsWrites(resources.pids),
    ...ioWrites(resources.blockIO ?? {}),
    ...(resources.hugepageLimits ?? []).map(hugepageWrite),
    ...rdmaWrites(resources.rdma ?? {}),
    ...unifiedWrites(resources.unified ?? {}),
  ];
}

/**
 * cpu.weight (1 to 10000, 100 by default) for v1 shares (2 to 262144, 1024 by default). Linear, as crun and runc convert at create (later
 * releases, runc 1.3.2 and crun 1.23, use a curve through the defaults): an update must not change the proportions. 0 shares: nothing is asked.
 */
export function weightOfShares(shares: number): number | undefined {
  if (shares === 0) return undefined;
  const bounded = Math.min(Math.max(shares, 2), 262_144);
  return 1 + Math.floor(((bounded - 2) * 9999) / 262_142);
}

function cpuWrites(cpu: NonNullable<CgroupResources['cpu']>): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  if (cpu.idle !== undefined) writes.push({ file: 'cpu.idle', value: String(whole('cpu.idle', cpu.idle)) });
  const weight = cpu.shares === undefined ? undefined : weightOfShares(whole('cpu.shares', cpu.shares));
  // The kernel refuses a weight for an idle group.
  if (weight !== undefined && cpu.idle !== 1) writes.push({ file: 'cpu.weight', value: String(weight) });
  if (cpu.quota !== undefined || cpu.period !== undefined) {
    const quota = whole('cpu.quota', cpu.quota ?? -1, -1);
    const period = whole('cpu.period', cpu.period ?? 0) || defaultPeriodUs;
    writes.push({ file: 'cpu.max', value: `${quota <= 0 ? 'max' : quota} ${period}` });
  }
  if (cpu.burst !== undefined)
    writes.push({ file: 'cpu.max.burst', value: String(whole('cpu.burst', cpu.burst)) });
  if (isSet(cpu.cpus)) writes.push({ file: 'cpuset.cpus', value: cpuList('cpu.cpus', cpu.cpus) });
  if (isSet(cpu.mems)) writes.push({ file: 'cpuset.mems', value: cpuList('cpu.mems', cpu.mems) });
  return writes;
}

/** OCI's swap is memory and swap together, memory.swap.max is swap alone. 0 means that nothing is asked. */
function memoryWrites(memory: NonNullable<CgroupResources['memory']>): CgroupWrite[] {
  const limit = whole('memory.limit', memory.limit ?? 0, -1);
  const swap = whole('memory.swap', memory.swap ?? 0, -1);
  const reservation = whole('memory.reservation', memory.reservation ?? 0, -1);
  const writes: CgroupWrite[] = [];
  if (swap !== 0) writes.push({ file: 'memory.swap.max', value: swapMax(limit, swap) });
  if (limit !== 0) writes.push({ file: 'memory.max', value: orMax(limit) });
  if (reservation !== 0) writes.push({ file: 'memory.low', value: orMax(reservation) });
  return writes;
}

function swapMax(limit: number, swap: number): string {
  if (swap === -1) return 'max';
  if (limit <= 0) throw invalid('memory.swap', 'a limit of memory and swap together needs a limit of memory');
  if (swap < limit) throw invalid('memory.swap', `${swap} is less than the memory limit ${limit}`);
  return String(swap - limit);
}

function pidsWrites(pids: CgroupResources['pids']): CgroupWrite[] {
  if (pids === undefined || pids.limit === 0) return [];
  return [{ file: 'pids.max', value: orMax(whole('pids.limit', pids.limit, -1)) }];
}

function ioWrites(io: BlockIo): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  if (io.weight !== undefined && io.weight !== 0) {
    writes.push({ file: 'io.weight', value: `default ${ioWeight(io.weight)}` });
  }
  for (const { major, minor, weight } of io.weightDevice ?? []) {
    if (weight !== undefined)
      writes.push({ file: 'io.weight', value: `${major}:${minor} ${ioWeight(weight)}` });
  }
  const throttles = [
    ['rbps', io.throttleReadBpsDevice],
    ['wbps', io.throttleWriteBpsDevice],
    ['riops', io.throttleReadIOPSDevice],
    ['wiops', io.throttleWriteIOPSDevice],
  ] as const;
  for (const [key, devices] of throttles) {
    for (const { major, minor, rate } of devices ?? []) {
      const value = rate === 0 ? 'max' : String(whole(`blockIO.${key}`, rate));
      writes.push({ file: 'io.max', value: `${major}:${minor} ${key}=${value}` });
    }
  }
  return writes;
}

/** io.weight (1 to 10000) for the v1 weight (10 to 1000). */
function ioWeight(weight: number): number {
  if (!Number.isInteger(weight) || weight < 10 || weight > 1000) {
    throw invalid('blockIO.weight', `${weight} is not between 10 and 1000`);
  }
  return 1 + Math.floor(((weight - 10) * 9999) / 990);
}

function hugepageWrite(limit: { readonly pageSize: string; readonly limit: number }): CgroupWrite {
  if (!/^[1-9]\d*[KMG]B$/.test(limit.pageSize)) {
    throw invalid('hugepageLimits.pageSize', `${quote(limit.pageSize)} is not a page size such as 2MB`);
  }
  return {
    file: `hugetlb.${limit.pageSize}.max`,
    value: orMax(whole('hugepageLimits.limit', limit.limit, -1)),
  };
}

function rdmaWrites(rdma: NonNullable<CgroupResources['rdma']>): CgroupWrite[] {
  return Object.entries(rdma).map(([device, { hcaHandles, hcaObjects }]) => {
    if (!/^[\w-]+$/.test(device)) throw invalid('rdma', `${quote(device)} is not a device name`);
    const handles = hcaHandles === undefined ? [] : [`hca_handle=${whole('rdma.hcaHandles', hcaHandles)}`];
    const objects = hcaObjects === undefined ? [] : [`hca_object=${whole('rdma.hcaObjects', hcaObjects)}`];
    return { file: 'rdma.max', value: [device, ...handles, ...objects].join(' ') };
  });
}

/** A file of a controller in the cgroup's own directory: never one that moves processes, delegates, kills or freezes. */
const unifiedFile = /^(?:cpu|cpuset|memory|io|pids|hugetlb|rdma|misc|dmem)\.[\w.-]+$/;

function unifiedWrites(unified: Readonly<Record<string, string>>): CgroupWrite[] {
  return Object.entries(unified).flatMap(([file, value]) => {
    if (!unifiedFile.test(file))
      throw invalid('unified', `${quote(file)} is not a file of a resource controller`);
    // One line is one write: io.max takes a device at a time.
    return value.split('\n').map((line) => ({ file, value: line }));
  });
}

function cpuList(field: string, list: string): string {
  if (!/^\d+(?:-\d+(?::\d+\/\d+)?)?(?:,\d+(?:-\d+(?::\d+\/\d+)?)?)*$/.test(list)) {
    throw invalid(field, `${quote(list)} is not a list such as 0-3,8`);
  }
  return list;
}

function whole(field: string, value: number, least = 0): number {
  if (!Number.isSafeInteger(value) || value < least)
    throw invalid(field, `${value} is not a whole number of ${least} or more`);
  return value;
}

function orMax(value: number): string {
  return value === -1 ? 'max' : String(value);
}

function isSet(text: string | undefined): text is string {
  return text !== undefined && text !== '';
}

function invalid(field: string, reason: string): EngineError {
  return new EngineError('invalid-argument', `resources.${field}: ${reason}`);
}
