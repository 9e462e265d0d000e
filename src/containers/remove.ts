import type { ContainerId, SandboxId } from '../lib/ids.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { containersOf, isAlive } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { releaseContainer } from './release.ts';
import { stopContainer } from './stop.ts';

/** Removes a container, killing it first if it runs; its log stays (the kubelet rotates and removes it). Idempotent. */
export async function removeContainer(
  deps: ContainerDeps,
  id: ContainerId,
  signal: AbortSignal,
): Promise<void> {
  const container = deps.store.get(id);
  if (container === undefined) return;
  if (isAlive(container)) await stopContainer(deps, id, 0, signal);
  using _ = await phase('wait for the container', () => deps.store.locks.acquire(id, signal));
  const stopped = deps.store.get(id);
  if (stopped === undefined) return;
  await releaseContainer(deps, stopped);
  await phase('record', () => deps.store.delete(id));
  deps.store.events.emit({ kind: 'deleted', container: stopped });
}

/** Removes every container of a sandbox. */
export async function removeAllContainers(deps: ContainerDeps, sandboxId: SandboxId): Promise<void> {
  const signal = new AbortController().signal;
  for (const { id } of containersOf(deps.store, sandboxId)) await removeContainer(deps, id, signal);
}
