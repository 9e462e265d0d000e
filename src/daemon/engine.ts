/** The operations on pods and containers, joined to the drivers that this host has. */
import type { CgroupDriver, HostCgroups } from '../cgroups/host.ts';
import { KeptFiles } from '../cgroups/kept-files.ts';
import type { Config } from '../config-schema.ts';
import { createCheckpoints } from '../containers/checkpoints/processes.ts';
import { StandingStill } from '../containers/checkpoints/standing-still.ts';
import type { ContainerStore } from '../containers/container.ts';
import type { ContainerDeps } from '../containers/deps.ts';
import { OutputRoom } from '../containers/command-output.ts';
import type { ExecSyncDeps } from '../containers/exec-sync.ts';
import { makeBoundMounts, removeBoundMounts, removeBoundVolumes } from '../containers/bound-mounts.ts';
import { createContainerVolumes } from '../containers/container-volumes.ts';
import { ContainerExits, type ExitSource } from '../containers/exits.ts';
import { resolveMountSources } from '../containers/mount-sources.ts';
import { createSpecBuilder } from '../containers/prepare-spec.ts';
import { removeAllContainers } from '../containers/remove.ts';
import { createRuntimes, monitorDeps, type RuntimesOptions } from '../containers/runtimes.ts';
import type { HostFacts } from '../containers/spec/host-facts.ts';
import { stopAllContainers } from '../containers/stop.ts';
import { isKind, messageOf } from '../lib/errors.ts';
import { parseContainerId, parseSandboxId } from '../lib/ids.ts';
import type { RecordDatabase } from '../lib/records.ts';
import { bootId } from '../linux/boot-id.ts';
import type { NamespaceThread } from '../linux/namespace-thread.ts';
import type { PathWorkers } from '../linux/path-worker.ts';
import type { Poller } from '../linux/poll.ts';
import { findProgram } from '../linux/program.ts';
import { pinInUserNamespace } from '../linux/user-namespace.ts';
import type { Networks } from '../networks/networks.ts';
import { ExitWatcher } from '../oci/exits.ts';
import type { SandboxDeps } from '../sandbox/deps.ts';
import { holderEnded } from '../sandbox/holder-ended.ts';
import { createPidHolder } from '../sandbox/pid-holder.ts';
import type { SandboxStore } from '../sandbox/sandbox.ts';
import { CpuRates } from '../stats/cpu-rates.ts';
import { readSoftLimits } from '../stats/metrics/process-files.ts';
import { PodInterfaces } from '../stats/pod-interfaces.ts';
import { followEnds, type UsageDeps } from '../stats/usage.ts';
import type { Log } from '../telemetry/log.ts';
import type { EngineCgroups } from './cgroups.ts';
import type { Directories } from './directories.ts';
import type { EngineImages } from './images.ts';
import { createEnginePlugins, type EnginePlugins } from './plugins/engine-plugins.ts';
import { handlerFor, mustMapUsers, type RuntimeSet } from './runtimes.ts';
import type { UserNamespaceTrials } from './user-namespaces.ts';

/** What the engine is made of. */
export interface EngineParts {
  readonly config: Config;
  readonly log: Log;
  readonly directories: Directories;
  readonly stores: {
    readonly database: RecordDatabase;
    readonly sandboxes: SandboxStore;
    readonly containers: ContainerStore;
  };
  readonly poller: Poller;
  readonly thread: NamespaceThread;
  readonly paths: PathWorkers;
  readonly host: HostCgroups;
  readonly driver: CgroupDriver;
  readonly cgroups: EngineCgroups;
  readonly runtimes: RuntimeSet;
  readonly trials: UserNamespaceTrials;
  readonly facts: HostFacts;
  readonly networks: Networks;
  readonly images: EngineImages;
}

export interface Engine {
  readonly parts: EngineParts;
  readonly sandboxes: SandboxDeps;
  readonly containers: ContainerDeps;
  readonly exec: ExecSyncDeps;
  readonly usage: UsageDeps;
  /** Hears of ends once recovery has taken every container up. */
  readonly exits: ExitWatcher;
  readonly plugins: EnginePlugins;
}

const pathTimeoutMs = 10_000;
/** For a process whose limit is not to be read, or has none. */
const defaultMaxOpenFiles = 65_536;
/** What every process of a container may open unless its own limits say otherwise: systemd's default for services. */
const openFiles = { soft: 1024, hard: 524_288 };

export function createEngine(parts: EngineParts, stack: AsyncDisposableStack): Engine {
  const { directories, stores, log } = parts;
  const onError = (error: unknown): void => log.error({ error: messageOf(error) }, 'watching containers');
  const exits = stack.use(new ExitWatcher({ poller: parts.poller, onError }, directories.exits));
  const runtimes = runtimesOptions(parts);
  const exec: ExecSyncDeps = {
    store: stores.containers,
    stateDirectory: directories.state,
    monitorDeps: (handler) => monitorDeps(runtimes, handler),
    outputRoom: new OutputRoom(),
  };
  const containerExits = stack.use(new ContainerExits(exitSource(exits), () => containers, log));
  const plugins = enginePlugins(parts, () => containers, stack);
  const checkpoints = checkpointsOf(parts, runtimes, stack.use(new StandingStill()));
  const containers = containerDeps(parts, runtimes, { exits: containerExits, plugins, checkpoints });
  const interfaces = stack.use(
    new PodInterfaces(async (netnsPath, path) => await parts.thread.openFile(netnsPath, path)),
  );
  const sandboxes = sandboxDeps(parts, interfaces, { exec, containers, exits, plugins });
  const files = stack.use(new KeptFiles(maxKeptFiles()));
  const usage = usageDeps(parts, { interfaces, files });
  stack.use(exits.exits.subscribe(({ id }) => void holderEnded(sandboxes, parseSandboxId(id), log)));
  stack.use(followEnds(usage));
  stack.use(parts.images.followRemovals(stores.containers));
  return { parts, sandboxes, containers, exec, usage, exits, plugins };
}

function enginePlugins(
  { config, log, directories, stores, facts, images }: EngineParts,
  containers: () => ContainerDeps,
  stack: AsyncDisposableStack,
): EnginePlugins {
  return createEnginePlugins(
    {
      isEnabled: config.nri.enabled,
      log,
      stateDirectory: directories.state,
      host: facts,
      stores,
      imageDigest: (id) => images.images.store.get(id)?.repoDigests[0]?.split('@')[1],
      containers,
    },
    stack,
  );
}

function runtimesOptions({
  directories,
  runtimes,
  poller,
  facts,
  cgroups,
  config,
}: EngineParts): RuntimesOptions {
  return {
    handlers: runtimes.handlers,
    poller,
    host: facts,
    stateDirectory: directories.state,
    writeLimits: cgroups.writeLimits,
    keepLimits: cgroups.keepLimits,
    liftCpuQuota: cgroups.liftCpuQuota,
    conmon: {
      path: findProgram(config.runtime.conmon),
      exitDirectory: directories.exits,
      socketDirectory: directories.sockets,
      place: cgroups.placeMonitor,
    },
  };
}

function exitSource(watcher: ExitWatcher): ExitSource {
  return {
    watch: (id, processes) => watcher.track(id, processes),
    forget: (id) => watcher.forget(id),
    subscribe: (listener) =>
      watcher.exits.subscribe(({ id, exitCode, finishedAtMs, lostReason }) =>
        listener({ id: parseContainerId(id), exitCode, finishedAtMs, doubt: lostReason }),
      ),
  };
}

interface ContainerParts extends Pick<ContainerDeps, 'checkpoints' | 'exits'> {
  readonly plugins: EnginePlugins;
}

function containerDeps(
  parts: EngineParts,
  runtimes: RuntimesOptions,
  { exits, plugins, checkpoints }: ContainerParts,
): ContainerDeps {
  const { directories, stores, images, cgroups, facts, paths, poller } = parts;
  return {
    store: stores.containers,
    sandboxes: stores.sandboxes,
    stateDirectory: directories.state,
    bootId: bootId(),
    images: images.forContainers,
    mounts: {
      resolve: async (request, signal) =>
        await resolveMountSources(
          {
            realPath: async (path) => await paths.call('realpath', { path }, pathTimeoutMs),
            images: images.forContainers,
          },
          request,
          signal,
        ),
      bind: async (spec, { boundMounts: directory }, handler) => {
        const { runtime } = monitorDeps(runtimes, handler);
        return await makeBoundMounts({ paths, poller }, { spec, directory, runtime });
      },
      unbind: async ({ boundMounts }) => removeBoundVolumes(boundMounts),
      release: async ({ directory, boundMounts }) => {
        removeBoundMounts(boundMounts);
        await images.releaseImageMounts(`${directory}/images`);
      },
    },
    spec: createSpecBuilder({
      containers: stores.containers,
      stateDirectory: directories.state,
      host: facts,
      runtimeKind: (handler) => monitorDeps(runtimes, handler).runtime.kind,
      defaults: { openFiles, passedOnAnnotations: [] },
    }),
    volumes: createContainerVolumes({
      paths,
      host: facts,
      directory: `${directories.root}/volumes`,
      ownDirectories: [directories.root, directories.state],
      discard: (path) => images.discard(path),
    }),
    cgroups: cgroups.forContainers,
    plugins: plugins.forContainers,
    runtime: createRuntimes(runtimes),
    checkpoints,
    exits,
  };
}

function checkpointsOf(
  { directories, images, cgroups, config, host }: EngineParts,
  runtimes: RuntimesOptions,
  standingStill: StandingStill,
): ContainerDeps['checkpoints'] {
  const { restore_directories: folders, restore_images: isRestoringImages } = config.checkpoints;
  const own = {
    directory: `${directories.root}/checkpoints`,
    sources: { directories: folders, images: isRestoringImages },
    layers: images.forCheckpoints,
    standingStill,
    cgroupPath: (cgroupsPath: string) => cgroups.pathOf(cgroupsPath),
    hasUnifiedCgroups: host.layout === 'unified',
    stateDirectory: directories.state,
  };
  return createCheckpoints(own, runtimes);
}

function sandboxDeps(
  parts: EngineParts,
  interfaces: PodInterfaces,
  { exec, containers, exits, plugins }: Pick<Engine, 'exec' | 'containers' | 'exits' | 'plugins'>,
): SandboxDeps {
  const { directories, stores, networks, cgroups, thread, poller, runtimes, config } = parts;
  return {
    store: stores.sandboxes,
    stateDirectory: directories.state,
    bootId: bootId(),
    namespaces: {
      pin: async ({ ids, ...request }) =>
        ids === undefined
          ? void (await thread.pin(request))
          : await pinInUserNamespace({ thread, poller }, ids, request),
      release: (id) => interfaces.release(id),
    },
    networks: {
      attach: async (request, signal) => await networks.attach(request, signal),
      detach: async (id) => await networks.detach(id),
    },
    cgroups: cgroups.forSandboxes,
    holder: createPidHolder({
      stateDirectory: directories.state,
      program: () => findProgram(config.runtime.catatonit),
      monitorDeps: exec.monitorDeps,
      cgroupsPathFor: (sandbox) => cgroups.forContainers.pathFor(sandbox, parseContainerId(sandbox.id)),
      watchExit: (id, processes) => exits.track(id, processes),
      forgetExit: (id) => exits.forget(id),
    }),
    plugins: plugins.forPods,
    runtimes: {
      handlerFor: (requested) => handlerFor(runtimes, requested),
      mustMapUsers: async (handler, usesNodeNetwork) => {
        const network = usesNodeNetwork ? 'nodeNetwork' : 'podNetwork';
        await mustMapUsers(runtimes, parts.trials, { handler, network });
      },
    },
    containers: {
      stopAll: async (id) => await stopAllContainers(containers, id),
      removeAll: async (id) => await removeAllContainers(containers, id),
    },
  };
}

function usageDeps(
  { host, stores, cgroups, images, directories }: EngineParts,
  kept: Pick<UsageDeps, 'interfaces' | 'files'>,
): UsageDeps {
  return {
    host,
    containers: stores.containers,
    sandboxes: stores.sandboxes,
    rates: new CpuRates(),
    containerCgroup: ({ cgroupsPath }) => cgroups.pathOf(cgroupsPath),
    podCgroup: ({ cgroup }) => cgroups.podPath(cgroup.parent),
    writableLayer: async (id) => {
      try {
        const { bytes, inodes, measuredAtMs } = await images.usageOf(id);
        return {
          mountpoint: directories.snapshots,
          usedBytes: bytes,
          usedInodes: inodes,
          timestampMs: measuredAtMs,
        };
      } catch (error) {
        if (isKind(error, 'not-found')) return undefined;
        throw error;
      }
    },
    ...kept,
  };
}

/** Half of what this process may open: some two dozen a pod, and room for all else. */
function maxKeptFiles(): number {
  const limit = readSoftLimits(process.pid).find(({ name }) => name === 'max_open_files');
  return Number(limit?.value ?? defaultMaxOpenFiles) / 2;
}
