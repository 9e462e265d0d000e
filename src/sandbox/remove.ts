import type { SandboxId } from '../lib/ids.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { SandboxDeps } from './deps.ts';
import { stopLocked } from './stop.ts';

/** Removes a sandbox with all its containers, stopping first what still runs. Idempotent. */
export async function removeSandbox(deps: SandboxDeps, id: SandboxId, signal: AbortSignal): Promise<void> {
  using _ = await phase('wait for the pod', () => deps.store.locks.acquire(id, signal));
  const sandbox = deps.store.get(id);
  if (sandbox === undefined) return;
  const stopped = await stopLocked(deps, sandbox);
  await phase('remove its containers', () => deps.containers.removeAll(id));
  await phase('record', () => deps.store.delete(id));
  deps.store.events.emit({ kind: 'deleted', sandbox: stopped });
}
