import { messageOf } from '../lib/errors.ts';
import type { SandboxId } from '../lib/ids.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { SandboxDeps } from './deps.ts';
import type { Sandbox } from './sandbox.ts';
import { teardownSandbox } from './teardown.ts';

/**
 * Ends all containers of a sandbox and gives back its network and namespaces. Idempotent: the kubelet calls it
 * several times, and again after a failure, which then finishes what was left.
 */
export async function stopSandbox(deps: SandboxDeps, id: SandboxId, signal: AbortSignal): Promise<void> {
  using _ = await phase('wait for the pod', () => deps.store.locks.acquire(id, signal));
  const sandbox = deps.store.get(id);
  if (sandbox !== undefined) await stopLocked(deps, sandbox);
}

/** The caller holds the sandbox's lock. Returns the sandbox as it is then. */
export async function stopLocked(deps: SandboxDeps, sandbox: Sandbox): Promise<Sandbox> {
  if (sandbox.state.name === 'not-ready') return sandbox;
  try {
    await phase('stop its containers', () => deps.containers.stopAll(sandbox.id));
    await deps.plugins.stopping(sandbox);
    await teardownSandbox(deps, sandbox);
  } catch (error) {
    deps.store.update(sandbox.id, (old) => ({
      ...old,
      state: { name: 'unknown', reason: messageOf(error) },
    }));
    throw error;
  }
  const state = { name: 'not-ready', stoppedAtMs: Date.now() } as const;
  const stopped = await phase('record', () => deps.store.update(sandbox.id, (old) => ({ ...old, state })));
  deps.store.events.emit({ kind: 'stopped', sandbox: stopped });
  return stopped;
}
