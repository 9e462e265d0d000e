/** The cgroups of pods and containers, as the engine asks for them, on this host's layout and driver. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { moveExpecter } from '../cgroups/expect-moves.ts';
import { GoneCgroupKills } from '../cgroups/gone-kills.ts';
import { applyWrites } from '../cgroups/apply.ts';
import { resourceWrites } from '../cgroups/resources.ts';
import { createCgroup, addProcess, removeCgroup } from '../cgroups/tree.ts';
import {
  cgroupDirectories,
  cgroupOfProcess,
  controllerDirectory,
  type CgroupDriver,
  type HostCgroups,
} from '../cgroups/host.ts';
import { keepLimits } from '../cgroups/keep-limits.ts';
import { killCgroup } from '../cgroups/kill.ts';
import { liftCpuQuota } from '../cgroups/lift-cpu-quota.ts';
import { readOomKills } from '../cgroups/oom.ts';
import { containerCgroup, parentPath, podCgroupParent } from '../cgroups/paths.ts';
import type { PutBack } from '../cgroups/put-back.ts';
import type { ContainerDeps } from '../containers/deps.ts';
import type { LimitChange, RuntimesOptions } from '../containers/runtimes.ts';
import { errnoOf } from '../lib/errors.ts';
import { runCommand } from '../linux/command.ts';
import type { SandboxDeps } from '../sandbox/deps.ts';

const killTimeoutMs = 10_000;
const removeTimeoutMs = 10_000;

export interface EngineCgroups {
  readonly forSandboxes: SandboxDeps['cgroups'];
  readonly forContainers: ContainerDeps['cgroups'];
  /** Only in cgroups v2 that systemd does not manage: else limits go through the runtime, which knows v1's files and tells systemd. */
  readonly writeLimits: RuntimesOptions['writeLimits'];
  readonly keepLimits: RuntimesOptions['keepLimits'];
  readonly liftCpuQuota: RuntimesOptions['liftCpuQuota'];
  /** Puts a monitor into the leaf of its own that all monitors share, outside of every pod. */
  readonly placeMonitor: (pid: number) => Promise<void>;
  /** The directory-independent path of a container's cgroup, for its stats. */
  readonly pathOf: (cgroupsPath: string) => string;
  /** The same for a pod's. */
  readonly podPath: (parent: string) => string;
}

export function createEngineCgroups(host: HostCgroups, driver: CgroupDriver): EngineCgroups {
  const gone = driver === 'systemd' && host.layout === 'unified' ? new GoneCgroupKills(host) : undefined;
  const scopeOf = (cgroupsPath: string): string => {
    const [slice = '', , id = ''] = cgroupsPath.split(':');
    return driver === 'systemd' ? containerCgroup(driver, slice, id).path : cgroupsPath;
  };
  const pathOf = (cgroupsPath: string): string => {
    const scope = scopeOf(cgroupsPath);
    return delegatedCgroup(host, driver, scope) ?? scope;
  };
  const destroy = async (path: string): Promise<void> => {
    // As a rule the runtime has removed it: looking is much cheaper than failing to read, in each of many hierarchies.
    if (!isThere(host, path)) return;
    await killCgroup(host, path, { timeoutMs: killTimeoutMs });
    await removeCgroup(host, path, { timeoutMs: removeTimeoutMs });
  };
  const expectContainers = moveExpecter(host);
  return {
    forSandboxes: {
      expectContainers,
      forPod: (id, requested) => podCgroupParent(driver, requested, id),
      makeOwn(parent) {
        // systemd makes a slice with the first scope in it.
        if (driver === 'cgroupfs') createCgroup(host, parentPath(driver, parent));
      },
      async removeOwn(parent) {
        if (driver === 'systemd') await runCommand(['systemctl', 'stop', parent]);
        await destroy(parentPath(driver, parent));
      },
    },
    forContainers: {
      expectContainers,
      pathFor(sandbox, id) {
        const { cgroupsPath } = containerCgroup(driver, sandbox.cgroup.parent, id);
        gone?.watch(dirname(scopeOf(cgroupsPath)));
        return cgroupsPath;
      },
      wasOomKilled(cgroupsPath) {
        const scope = scopeOf(cgroupsPath);
        const kills = readOomKills(host, scope);
        if (kills === undefined) return gone?.takeNew(dirname(scope)) === true ? true : undefined;
        gone?.explain(dirname(scope), kills);
        return kills > 0;
      },
      destroy: async (cgroupsPath) => await destroy(scopeOf(cgroupsPath)),
    },
    async writeLimits(cgroupsPath, limits) {
      if (host.layout !== 'unified') return undefined;
      const path = driver === 'cgroupfs' ? cgroupsPath : delegatedCgroup(host, driver, scopeOf(cgroupsPath));
      return path === undefined ? undefined : await writeLimits(host, path, limits);
    },
    keepLimits(cgroupsPath, { after }) {
      const paths = new Set([pathOf(cgroupsPath), scopeOf(cgroupsPath)]);
      return keepLimits(host, paths, Object.keys(after.unified ?? {}));
    },
    liftCpuQuota: async (cgroupsPath) => await liftCpuQuota(host, pathOf(cgroupsPath)),
    placeMonitor: monitorPlacer(host, driver),
    pathOf,
    podPath: (parent) => parentPath(driver, parent),
  };
}

/**
 * crun under systemd puts a container with its limits one level below its scope, into what systemd has delegated and does not touch;
 * undefined where there is no such level (runc, a container that has ended).
 */
function delegatedCgroup(host: HostCgroups, driver: CgroupDriver, scope: string): string | undefined {
  if (driver !== 'systemd') return undefined;
  const path = `${scope}/container`;
  return isThere(host, path) ? path : undefined;
}

function isThere(host: HostCgroups, path: string): boolean {
  return cgroupDirectories(host, path).some((directory) => existsSync(directory));
}

/** Writes only what changes: a file that an update does not mention is not touched. */
async function writeLimits(
  host: HostCgroups,
  path: string,
  { before, after }: LimitChange,
): Promise<PutBack> {
  const old = new Set(resourceWrites(before).map(({ file, value }) => `${file} ${value}`));
  const changes = resourceWrites(after).filter(({ file, value }) => !old.has(`${file} ${value}`));
  const directory = controllerDirectory(host, '', path);
  return directory === undefined ? async () => undefined : await applyWrites(directory, changes);
}

/** Under systemd the leaf is below our own unit, which is delegated to us: it ends with none of our restarts. */
function monitorPlacer(host: HostCgroups, driver: CgroupDriver): (pid: number) => Promise<void> {
  const own = driver === 'systemd' ? (cgroupOfProcess(host, 'self') ?? '/system.slice') : '/gantry';
  const leaf = `${own}/monitors`;
  createCgroup(host, leaf);
  return async (pid) => {
    try {
      await addProcess(host, leaf, pid);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      // Someone swept an empty cgroup of ours: made again, once.
      createCgroup(host, leaf);
      await addProcess(host, leaf, pid);
    }
  };
}
