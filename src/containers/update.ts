import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import type { LinuxResources } from '../sandbox/pod-config.ts';
import { isAlive, type Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { checkOomScoreAdj } from './spec/oom-score.ts';
import { mergeResources } from './spec/resources.ts';

/**
 * Changes the limits of a container: those that the request names, the others stay, and so does its oom_score_adj. All of them or none: if the
 * kernel refuses one, or they cannot be recorded, what was in force before is so again. Plugins may change the request
 * first, and with it other containers: no lock is held then.
 *
 * @throws EngineError not-found, failed-precondition (neither created nor running, a plugin refuses), or why the kernel refused
 */
export async function updateContainer(
  deps: ContainerDeps,
  id: ContainerId,
  request: LinuxResources,
  signal: AbortSignal,
): Promise<void> {
  const wanted = await deps.plugins.updating(living(deps, id), request, signal);
  deps.plugins.updated(await applyLimits(deps, id, wanted, signal));
}

function living(deps: ContainerDeps, id: ContainerId): Container {
  const container = deps.store.mustFind(id);
  if (isAlive(container)) return container;
  throw new EngineError(
    'failed-precondition',
    `container ${id} is ${container.state.name}: its resources cannot be changed`,
  );
}

/** As updateContainer, without asking plugins: it is how their own wishes are carried out. Gives the container as it is then. */
export async function applyLimits(
  deps: ContainerDeps,
  id: ContainerId,
  { oomScoreAdj, ...request }: LinuxResources,
  signal: AbortSignal,
): Promise<Container> {
  // The kubelet sends it with every update. It is the first process's from its start, and others have inherited it or set their own.
  checkOomScoreAdj(oomScoreAdj);
  using _ = await deps.store.locks.acquire(id, signal);
  const container = living(deps, id);
  const resources = mergeResources(container.resources, request);
  await using undo = new AsyncDisposableStack();
  undo.defer(await deps.runtime.update(container, resources));
  // A full disk must not leave limits in force that no record names.
  const updated = deps.store.update(id, (old) => ({ ...old, resources }));
  undo.move();
  return updated;
}
