import type { SandboxId } from '../lib/ids.ts';
import type { SandboxDeps } from './deps.ts';
import type { LinuxResources } from './pod-config.ts';

/**
 * Notes the pod's new overhead and sum of limits. The kubelet has already written them to the pod's cgroup, which is
 * its own; the record is what status and plugins are told.
 */
export async function updateSandboxResources(
  deps: Pick<SandboxDeps, 'store'>,
  id: SandboxId,
  request: { readonly overhead: LinuxResources | undefined; readonly resources: LinuxResources | undefined },
  signal: AbortSignal,
): Promise<void> {
  using _ = await deps.store.locks.acquire(id, signal);
  deps.store.update(id, (old) => ({
    ...old,
    config: {
      ...old.config,
      overhead: request.overhead ?? old.config.overhead,
      resources: request.resources ?? old.config.resources,
    },
  }));
}
