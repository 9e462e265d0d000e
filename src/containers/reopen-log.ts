import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import type { ContainerDeps } from './deps.ts';
import { logPlaceOf, makeLogPlace } from './log-path.ts';

/**
 * Makes the monitor write to a new file at the container's log path, after the kubelet has renamed the old one.
 * When this returns the new file exists.
 *
 * @throws EngineError not-found, failed-precondition (not running, or something other than a log is in the new file's place: then no
 *   new file is made)
 */
export async function reopenContainerLog(
  deps: Pick<ContainerDeps, 'store' | 'sandboxes' | 'runtime'>,
  id: ContainerId,
): Promise<void> {
  const container = deps.store.mustFind(id);
  if (container.state.name !== 'running')
    throw new EngineError(
      'failed-precondition',
      `container ${id} is ${container.state.name}: only the log of a running one is reopened`,
    );
  const pod = deps.sandboxes.get(container.sandboxId);
  if (pod !== undefined) makeLogPlace(logPlaceOf(pod.config, container.config));
  await deps.runtime.reopenLog(container);
}
