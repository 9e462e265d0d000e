/** Starting a created container, with an end to it: `crun start` waits for ever for a process that has been killed meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../lib/errors.ts';
import { close } from '../linux/libc.ts';
import { openProcess, watchExit } from '../linux/pidfd.ts';
import type { StoredProcess } from './monitor.ts';
import type { RuntimeDeps } from './runtime-call.ts';
import { type ContainerArgs, startContainer } from './runtime.ts';

/** A program may end at once, long before the runtime has said that it is started. */
const defaultGraceMs = 10_000;

/**
 * Starts the process of a created container. If that process has ended, the runtime has ten seconds left to come to an end.
 *
 * @throws EngineError with the runtime's message; failed-precondition when the process had ended before; the signal's reason
 */
export async function startCreated(
  deps: RuntimeDeps,
  args: ContainerArgs & { readonly process: StoredProcess; readonly graceMs?: number },
): Promise<void> {
  const done = new AbortController();
  const gone = new AbortController();
  const watching = whenEnded(deps, args.process, done.signal)
    .then(async () => await sleep(args.graceMs ?? defaultGraceMs, undefined, { signal: done.signal }))
    .then(
      () => gone.abort(endedBefore(args.id)),
      () => undefined,
    );
  const signals = [gone.signal, args.signal].filter((signal) => signal !== undefined);
  try {
    await startContainer(deps, { id: args.id, signal: AbortSignal.any(signals) });
  } finally {
    done.abort();
    await watching;
  }
}

function endedBefore(id: string): EngineError {
  return new EngineError(
    'failed-precondition',
    `start container ${id}: its process ended before it could be started`,
  );
}

async function whenEnded(
  { poller }: RuntimeDeps,
  { pid, startTicks }: StoredProcess,
  signal: AbortSignal,
): Promise<void> {
  const pidfd = openProcess({ pid, startTicks: BigInt(startTicks) });
  if (pidfd === undefined) return;
  try {
    await watchExit(pidfd, poller, signal);
  } finally {
    close(pidfd);
  }
}
