import { messageOf } from '../lib/errors.ts';
import type { SandboxId } from '../lib/ids.ts';
import { processStartTicks } from '../linux/pidfd.ts';
import type { Log } from '../telemetry/log.ts';
import type { SandboxDeps } from './deps.ts';
import type { Sandbox } from './sandbox.ts';
import { stopSandbox } from './stop.ts';

/** Of a ready pod, whether the process that holds its PID namespace has ended: its pid may be another process's by now. */
export function isHolderGone({ holder }: Extract<Sandbox['state'], { readonly name: 'ready' }>): boolean {
  return holder !== undefined && processStartTicks(holder.pid) !== BigInt(holder.startTicks);
}

/**
 * To be told of every end that a monitor reports: where it is that of the process that holds a pod's PID namespace, the
 * kernel has killed all containers of the pod, and none can be started in it again. The pod is stopped, and made anew by the kubelet.
 */
export async function holderEnded(deps: SandboxDeps, id: SandboxId, log: Log): Promise<void> {
  if (deps.store.get(id)?.state.name !== 'ready') return;
  try {
    // A stop that has ended the holder itself has the lock: there is nothing left to stop then.
    await stopSandbox(deps, id, new AbortController().signal);
  } catch (error) {
    log.error(
      { sandbox: id, error: messageOf(error) },
      'a pod whose PID namespace has ended could not be stopped; a stop tries again',
    );
  }
}
