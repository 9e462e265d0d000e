import type { SandboxId } from '../lib/ids.ts';
import type { PodResources, SandboxDeps } from './deps.ts';

/**
 * Notes the pod's new overhead and sum of limits. The kubelet has already written them to the pod's cgroup, which is
 * its own; the record is what status and plugins are told.
 */
export async function updateSandboxResources(
  deps: Pick<SandboxDeps, 'store' | 'plugins'>,
  id: SandboxId,
  request: PodResources,
  signal: AbortSignal,
): Promise<void> {
  using _ = await deps.store.locks.acquire(id, signal);
  await deps.plugins.updating(deps.store.mustFind(id), request, signal);
  const updated = deps.store.update(id, (old) => ({
    ...old,
    config: {
      ...old.config,
      overhead: request.overhead ?? old.config.overhead,
      resources: request.resources ?? old.config.resources,
    },
  }));
  deps.plugins.updated(updated);
}
