/** Limits where only the OCI runtime knows the files, or has to tell systemd: cgroup v1, scopes, runtimes with a curve of cpu weights. */
import type { PutBack } from '../cgroups/put-back.ts';
import { hasLinearCpuWeight } from '../oci/runtime-version.ts';
import { updateContainer } from '../oci/runtime.ts';
import type { RuntimeDeps } from '../oci/runtime-call.ts';
import type { CpuResources, LinuxResources, MemoryResources } from '../oci/spec-types.ts';
import type { LimitChange } from './runtimes.ts';
import { takesQuotaAway, withoutQuota } from './spec/resources.ts';

interface RuntimeUpdate {
  readonly id: string;
  readonly change: LimitChange;
  readonly cgroupVersion: 'v1' | 'v2';
  /** Writes the limits that the cgroup has now into its files again. */
  readonly putBack: PutBack;
  /** Takes the quota away where the runtime cannot. */
  readonly liftCpuQuota: () => Promise<void>;
}

/**
 * All or none, and gives what undoes it: the runtime is told what was in force before, for its own state and for systemd, and the files get
 * what they held. What stays behind is systemd's memory of cpusets that a unit had not before, until its scope ends.
 */
export async function updateByRuntime(deps: RuntimeDeps, update: RuntimeUpdate): Promise<PutBack> {
  const { id, change, putBack } = update;
  const before = resourcesBefore(change, defaultShares(deps, update));
  const [resources, isQuotaOurs] = whatRuntimeTakes(deps, update, change.after);
  const undo = async (): Promise<void> => {
    await using files = new AsyncDisposableStack();
    files.defer(putBack);
    try {
      await updateContainer(deps, { id, resources: whatRuntimeTakes(deps, update, before)[0] });
    } catch (error) {
      // Without systemd the files alone say what is in force.
      if (deps.runtime.systemdCgroup) throw error;
    }
  };
  await using failed = new AsyncDisposableStack();
  failed.defer(undo);
  await updateContainer(deps, { id, resources });
  if (isQuotaOurs) await update.liftCpuQuota();
  failed.move();
  return undo;
}

/**
 * crun 1.8 cannot take a quota away with cgroup v1: it writes -1 as an unsigned number. What is left out for it is to be done by us, except
 * under systemd, which has to be told by the runtime, and where there was none.
 */
function whatRuntimeTakes(
  { runtime }: RuntimeDeps,
  { change, cgroupVersion }: RuntimeUpdate,
  resources: LinuxResources,
): [resources: LinuxResources, isQuotaOurs: boolean] {
  if (runtime.kind !== 'crun' || cgroupVersion !== 'v1' || !takesQuotaAway(resources))
    return [resources, false];
  const hadQuota = (change.before.cpu?.quota ?? -1) > 0;
  if (hadQuota && runtime.systemdCgroup) return [resources, false];
  return [withoutQuota(resources), hadQuota];
}

/** The shares that a runtime makes what the kernel begins with: 1024 with cgroup v1, a weight of 100 with v2. */
function defaultShares({ runtime }: RuntimeDeps, { cgroupVersion }: RuntimeUpdate): number {
  return cgroupVersion === 'v2' && hasLinearCpuWeight(runtime) ? 2598 : 1024;
}

/** The limits before, and none where the change set the first one, as far as a runtime can be told so. */
function resourcesBefore({ before, after }: LimitChange, shares: number): LinuxResources {
  const cpu: CpuResources = { ...named({ shares, quota: -1, period: 100_000 }, after.cpu), ...before.cpu };
  const memory: MemoryResources = { ...named({ limit: -1, swap: -1 }, after.memory), ...before.memory };
  return {
    ...(after.pids === undefined ? {} : { pids: { limit: -1 } }),
    ...before,
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(Object.keys(memory).length === 0 ? {} : { memory }),
  };
}

/** Those values whose keys `other` has too. */
function named<T extends object>(values: T, other: object = {}): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([key]) => key in other)) as Partial<T>;
}
