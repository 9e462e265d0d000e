import type { SandboxId } from '../lib/ids.ts';
import type { SandboxDeps } from './deps.ts';
import { stopLocked } from './stop.ts';

/** Removes a sandbox with all its containers, stopping first what still runs. Idempotent. */
export async function removeSandbox(deps: SandboxDeps, id: SandboxId, signal: AbortSignal): Promise<void> {
  using _ = await deps.store.locks.acquire(id, signal);
  const sandbox = deps.store.get(id);
  if (sandbox === undefined) return;
  const stopped = await stopLocked(deps, sandbox);
  await deps.containers.removeAll(id);
  deps.store.delete(id);
  deps.store.events.emit({ kind: 'deleted', sandbox: stopped });
}
