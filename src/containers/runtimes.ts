/** Containers on OCI runtimes: one runtime per handler, one monitor per container. */
import { existsSync, rmSync } from 'node:fs';
import type { PutBack } from '../cgroups/put-back.ts';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { signalProcess } from '../linux/pidfd.ts';
import type { Poller } from '../linux/poll.ts';
import type { ConmonSetup } from '../oci/conmon.ts';
import { reopenLog } from '../oci/monitor-control.ts';
import { awaitMonitor, type ContainerStdin, type MonitorDeps, WaitingMonitor } from '../oci/monitor.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';
import { containerState, deleteContainer } from '../oci/runtime.ts';
import { hasLinearCpuWeight } from '../oci/runtime-version.ts';
import { startCreated } from '../oci/start.ts';
import type { LinuxResources } from '../oci/spec-types.ts';
import type { ContainerConfig } from './container-config.ts';
import { containerPaths, processesOf, type Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import type { HostFacts } from './spec/host-facts.ts';
import { buildResources } from './spec/resources.ts';
import { signalNumber } from './stop-signal.ts';
import { updateByRuntime } from './update-by-runtime.ts';

/** The limits of a container before and after an update. */
export interface LimitChange {
  readonly before: LinuxResources;
  readonly after: LinuxResources;
}

export interface RuntimesOptions {
  readonly handlers: ReadonlyMap<string, OciRuntime>;
  readonly poller: Poller;
  readonly conmon: ConmonSetup;
  readonly host: HostFacts;
  readonly stateDirectory: string;
  /** Changes the limits of a container's cgroup, all of them or none, and gives what undoes it; undefined where only the runtime can. */
  readonly writeLimits: (cgroupsPath: string, change: LimitChange) => Promise<PutBack | undefined>;
  /** Notes the limits of a container's cgroup, so that they can be put back after the runtime has changed them. */
  readonly keepLimits: (cgroupsPath: string, change: LimitChange) => PutBack;
  /** Takes the quota of a container's cgroup away, of cgroup v1. */
  readonly liftCpuQuota: (cgroupsPath: string) => Promise<void>;
}

const reopenTimeoutMs = 10_000;

/** What a handler's runtime needs to be called. @throws EngineError failed-precondition if it is configured no more */
export function monitorDeps(options: RuntimesOptions, handler: string): MonitorDeps {
  const runtime = options.handlers.get(handler);
  if (runtime === undefined)
    throw new EngineError('failed-precondition', `runtime handler ${quote(handler)} is not configured`);
  return { runtime, poller: options.poller, conmon: options.conmon };
}

/** What the monitor does with the standard input that a request describes. */
export function stdinOf({ stdin, stdinOnce }: Pick<ContainerConfig, 'stdin' | 'stdinOnce'>): ContainerStdin {
  if (!stdin) return 'none';
  return stdinOnce ? 'until-first-detach' : 'open';
}

export function createRuntimes(options: RuntimesOptions): ContainerDeps['runtime'] {
  return {
    startMonitor({ id, handler, bundle, logPath, terminal, stdin, stdinOnce }, signal) {
      return new WaitingMonitor(monitorDeps(options, handler), {
        id,
        bundle,
        logPath,
        terminal,
        stdin: stdinOf({ stdin, stdinOnce }),
        signal,
      });
    },
    async start(container) {
      const { id, runtimeHandler } = container;
      const process = processesOf(container)?.process;
      if (process === undefined) throw new EngineError('internal', `container ${id} has no process to start`);
      await startCreated(monitorDeps(options, runtimeHandler), { id, process });
    },
    async isStarted(container) {
      const state = await containerState(monitorDeps(options, container.runtimeHandler), {
        id: container.id,
      });
      return state?.status === 'running' || state?.status === 'paused';
    },
    async kill(container, signal) {
      const processes = processesOf(container);
      const number = signalNumber(signal);
      if (processes === undefined || number === undefined) return;
      const { pid, startTicks } = processes.process;
      signalProcess({ pid, startTicks: BigInt(startTicks) }, number);
    },
    async delete(container) {
      await deleteFromRuntime(options, container);
    },
    async update(container, resources) {
      const { id, cgroupsPath, runtimeHandler } = container;
      const deps = monitorDeps(options, runtimeHandler);
      const host = { ...options.host, runtimeName: deps.runtime.kind };
      const change = {
        before: buildResources(container.resources, host),
        after: buildResources(resources, host),
      };
      const written = hasLinearCpuWeight(deps.runtime)
        ? await options.writeLimits(cgroupsPath, change)
        : undefined;
      if (written !== undefined) return written;
      const putBack = options.keepLimits(cgroupsPath, change);
      const liftCpuQuota = async (): Promise<void> => await options.liftCpuQuota(cgroupsPath);
      const { cgroupVersion } = host;
      return await updateByRuntime(deps, { id, change, cgroupVersion, putBack, liftCpuQuota });
    },
    async reopenLog(container) {
      if (container.logPath === undefined) return;
      const { bundle } = containerPaths(options.stateDirectory, container.id);
      await reopenLog({ directory: bundle, logPath: container.logPath, timeoutMs: reopenTimeoutMs });
    },
  };
}

/** A container that the runtime does not know costs no process: recovery asks this of every exited one. */
async function deleteFromRuntime(options: RuntimesOptions, container: Container): Promise<void> {
  const { id, runtimeHandler } = container;
  const { poller } = options;
  const runtime = options.handlers.get(runtimeHandler);
  if (runtime !== undefined && existsSync(`${runtime.root}/${id}`)) {
    await deleteContainer({ runtime, poller }, { id, hasEnded: container.state.name === 'exited' });
    // What a runtime that was killed in the middle left, and does not know as a container any more.
    rmSync(`${runtime.root}/${id}`, { recursive: true, force: true });
  }
  // One whose end nobody has heard of: the monitor writes its exit file, and into its bundle, until it ends.
  const monitor = processesOf(container)?.monitor;
  if (monitor !== undefined) await awaitMonitor({ poller }, monitor);
}
