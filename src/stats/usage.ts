/** What containers and pods use. Read when asked for, from the cgroups' files: nothing is sampled in between. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { HostCgroups } from '../cgroups/host.ts';
import type { KeptFiles } from '../cgroups/kept-files.ts';
import { readStats, readUsage } from '../cgroups/read-stats.ts';
import type { CgroupStats, CgroupUsage } from '../cgroups/stats.ts';
import { isAlive, type Container, type ContainerStore } from '../containers/container.ts';
import { type ContainerFilter, listContainers } from '../containers/list.ts';
import { unixNowNs } from '../lib/clock.ts';
import type { ContainerId } from '../lib/ids.ts';
import { listSandboxes, type SandboxFilter } from '../sandbox/list.ts';
import type { Sandbox, SandboxStore } from '../sandbox/sandbox.ts';
import type { CpuRates } from './cpu-rates.ts';
import type { InterfaceCounters } from './network-counters.ts';

/** What a container's writable layer takes on disk. */
export interface LayerUsage {
  /** A directory on the file system that holds it. */
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly usedInodes: number;
  readonly timestampMs: number;
}

export interface UsageDeps {
  readonly host: HostCgroups;
  readonly containers: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly rates: CpuRates;
  /** Of the cgroups of containers and pods, which own them by their ids. */
  readonly files: Pick<KeptFiles, 'readText' | 'close'>;
  /** The path of a container's cgroup in the hierarchy. */
  readonly containerCgroup: (container: Container) => string;
  /** The path of a pod's cgroup in the hierarchy. */
  readonly podCgroup: (sandbox: Sandbox) => string;
  /** undefined when the container has none (any more). Must be cheap: it is asked for every container of a list. */
  readonly writableLayer: (id: ContainerId) => Promise<LayerUsage | undefined>;
  readonly interfaces: { read(sandbox: Sandbox): Promise<InterfaceCounters[]> };
}

/** Of a cgroup; groups of numbers that the host does not count, or of a container that has ended, are absent. */
interface Usage<C extends CgroupUsage = CgroupUsage> {
  /** Wall clock, nanoseconds since the epoch. */
  readonly readAtNs: bigint;
  readonly cgroup: C;
  /** Billionths of a core; absent at the first reading. */
  readonly usageNanoCores?: number;
}

export interface ContainerUsage<C extends CgroupUsage = CgroupUsage> extends Usage<C> {
  readonly container: Container;
  readonly writableLayer?: LayerUsage;
}

export interface PodUsage extends Usage {
  readonly sandbox: Sandbox;
  /** The containers that have a process. */
  readonly containers: readonly ContainerUsage[];
  /** Empty for a pod in the node's network and for one that has been stopped. The pod's own interface is `eth0`. */
  readonly interfaces: readonly InterfaceCounters[];
}

// A node has hundreds of cgroups, each a dozen small reads: other requests get their turn in between.
const readsPerTurn = 8;
/** Most pods have a cgroup of their own and one container. */
const podsPerTurn = readsPerTurn / 2;

/** No error for a container without a process: its usage is its writable layer. */
export async function containerUsage(deps: UsageDeps, container: Container): Promise<ContainerUsage> {
  return await usageOf(deps, container, keptReader(deps, container.id));
}

/** As `containerUsage`, with all that its cgroup counts. */
export async function containerStats(
  deps: UsageDeps,
  container: Container,
): Promise<ContainerUsage<CgroupStats>> {
  return await usageOf(deps, container, readStats);
}

async function usageOf<C extends CgroupUsage>(
  deps: UsageDeps,
  container: Container,
  read: Reader<C>,
): Promise<ContainerUsage<C>> {
  const usage = measured(deps, container.id, read(deps.host, deps.containerCgroup(container)));
  const writableLayer = await deps.writableLayer(container.id);
  return { ...usage, container, ...(writableLayer === undefined ? {} : { writableLayer }) };
}

/** The usage of the containers that match and have a process, oldest first. @throws the signal's reason */
export async function listContainerUsage(
  deps: UsageDeps,
  filter: ContainerFilter,
  signal?: AbortSignal,
): Promise<ContainerUsage[]> {
  return await usageOfAll(deps, listContainers(deps.containers, filter), signal);
}

/** No error for a pod that has been stopped. */
export async function podUsage(deps: UsageDeps, sandbox: Sandbox, signal?: AbortSignal): Promise<PodUsage> {
  const members = listContainers(deps.containers, { sandboxId: sandbox.id, labels: {} });
  return await usageOfPod(deps, sandbox, members, signal);
}

/** The usage of the pods that match and are ready, oldest first. @throws the signal's reason */
export async function listPodUsage(
  deps: UsageDeps,
  filter: SandboxFilter,
  signal?: AbortSignal,
): Promise<PodUsage[]> {
  const members = Map.groupBy(
    listContainers(deps.containers, { labels: {} }),
    ({ sandboxId }): string => sandboxId,
  );
  const found: PodUsage[] = [];
  for (const [index, { id }] of listSandboxes(deps.sandboxes, filter).entries()) {
    if (index % podsPerTurn === podsPerTurn - 1) await nextTurn();
    signal?.throwIfAborted();
    const sandbox = deps.sandboxes.get(id);
    if (sandbox?.state.name === 'ready')
      found.push(await usageOfPod(deps, sandbox, members.get(id) ?? [], signal));
  }
  return found;
}

/** Forgets the last readings of what has stopped and of what is deleted: call it once. Dispose of the result to stop. */
export function followEnds(
  deps: Pick<UsageDeps, 'containers' | 'sandboxes' | 'rates' | 'files'>,
): Disposable {
  const hear = (kind: string, id: string): void => {
    if (kind === 'stopped' || kind === 'deleted') deps.files.close(id);
    if (kind === 'deleted') deps.rates.forget(id);
  };
  const stack = new DisposableStack();
  stack.use(deps.containers.events.subscribe(({ kind, container }) => hear(kind, container.id)));
  stack.use(deps.sandboxes.events.subscribe(({ kind, sandbox }) => hear(kind, sandbox.id)));
  return stack;
}

async function usageOfPod(
  deps: UsageDeps,
  sandbox: Sandbox,
  members: readonly Container[],
  signal: AbortSignal | undefined,
): Promise<PodUsage> {
  const usage = measured(deps, sandbox.id, keptReader(deps, sandbox.id)(deps.host, deps.podCgroup(sandbox)));
  const [containers, interfaces] = await Promise.all([
    usageOfAll(deps, members, signal),
    deps.interfaces.read(sandbox),
  ]);
  return { ...usage, sandbox, containers, interfaces };
}

async function usageOfAll(
  deps: UsageDeps,
  containers: readonly Container[],
  signal: AbortSignal | undefined,
): Promise<ContainerUsage[]> {
  const found: ContainerUsage[] = [];
  for (const [index, { id }] of containers.filter(isAlive).entries()) {
    if (index % readsPerTurn === readsPerTurn - 1) await nextTurn();
    signal?.throwIfAborted();
    // It may have ended meanwhile.
    const container = deps.containers.get(id);
    if (container !== undefined && isAlive(container)) found.push(await containerUsage(deps, container));
  }
  return found;
}

type Reader<C> = (host: HostCgroups, path: string) => C;

/** Reads what stays open for its owner. */
function keptReader({ files }: UsageDeps, id: string): Reader<CgroupUsage> {
  return (host, path) => readUsage(host, path, (directory, file) => files.readText(id, directory, file));
}

/** Of a cgroup that has been read just now. */
function measured<C extends CgroupUsage>(deps: UsageDeps, key: string, cgroup: C): Usage<C> {
  const atNs = process.hrtime.bigint();
  const nanoCores =
    cgroup.cpu === undefined ? undefined : deps.rates.rate(key, { usageNs: cgroup.cpu.usageNs, atNs });
  const readAtNs = unixNowNs();
  return { readAtNs, cgroup, ...(nanoCores === undefined ? {} : { usageNanoCores: nanoCores }) };
}
