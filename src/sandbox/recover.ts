import { statfsSync } from 'node:fs';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { SandboxDeps } from './deps.ts';
import { isHolderGone } from './holder-ended.ts';
import type { Sandbox } from './sandbox.ts';
import { stopLocked } from './stop.ts';
import { teardownSandbox } from './teardown.ts';

/**
 * Compares every record with the kernel when the daemon starts, and repairs. A sandbox whose making was cut short
 * is undone; one of an earlier boot, or whose namespaces are gone, is stopped. One bad record never stops the daemon.
 */
export async function recoverSandboxes(deps: SandboxDeps, log: Log): Promise<void> {
  for (const { id } of deps.store.all()) {
    try {
      // The end of a PID namespace's holder is heard of meanwhile, and stops its pod too.
      using _ = await deps.store.locks.acquire(id);
      const sandbox = deps.store.get(id);
      if (sandbox !== undefined) await recoverSandbox(deps, sandbox);
    } catch (error) {
      log.error(
        { sandbox: id, error: messageOf(error) },
        'could not recover a pod sandbox; a stop tries again',
      );
    }
  }
}

async function recoverSandbox(deps: SandboxDeps, sandbox: Sandbox): Promise<void> {
  if (sandbox.state.name === 'creating') {
    await teardownSandbox(deps, sandbox);
    deps.store.delete(sandbox.id);
  } else if (sandbox.state.name === 'ready') {
    if (isWhole(deps, sandbox)) deps.holder.watch(sandbox);
    else await stopLocked(deps, sandbox);
  }
}

function isWhole(deps: SandboxDeps, { bootId, state }: Sandbox): boolean {
  if (bootId !== deps.bootId || state.name !== 'ready') return false;
  const { net, ipc, uts, user } = state.namespaces;
  const pins = [net, ipc, uts, user].filter((path) => path !== undefined);
  // A pin is a bind mount of nsfs: once unmounted (or after a reboot) the path is an empty regular file or gone.
  return pins.every(isNamespaceFile) && !isHolderGone(state);
}

const nsfsMagic = 0x6e736673;

function isNamespaceFile(path: string): boolean {
  try {
    return statfsSync(path).type === nsfsMagic;
  } catch {
    return false;
  }
}
