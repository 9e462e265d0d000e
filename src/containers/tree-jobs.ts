import { EngineError, errnoOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { PathArgs } from '../linux/path-operations.ts';
import type { PathWorkers } from '../linux/path-worker.ts';

export type TreePaths = Pick<PathWorkers, 'call'>;

/** Below the two minutes that the kubelet waits for a container to be created. */
const jobTimeoutMs = 100_000;
/** For the thread to notice that it was told to stop; after that its file system is taken for dead. */
const graceMs = 10_000;

/** Copies a directory of a root file system in a thread. @throws EngineError deadline-exceeded, or the signal's reason */
export async function copyTreeInThread(
  paths: TreePaths,
  args: Omit<PathArgs<'copy-tree'>, 'stop'>,
  signal: AbortSignal,
): Promise<void> {
  await stoppable(`copy ${quote(args.directory)} of the image`, signal, async (stop) => {
    await paths.call('copy-tree', { ...args, stop }, jobTimeoutMs + graceMs);
  });
}

/** Labels a tree in a thread. @throws EngineError deadline-exceeded, or the signal's reason */
export async function labelTreeInThread(
  paths: TreePaths,
  args: Omit<PathArgs<'label-tree'>, 'stop'>,
  signal: AbortSignal,
): Promise<void> {
  await stoppable(`label ${quote(args.path)}`, signal, async (stop) => {
    await paths.call('label-tree', { ...args, stop }, jobTimeoutMs + graceMs);
  });
}

/** What was begun is over when this returns, however it ends: the caller may remove what was written. */
async function stoppable(
  what: string,
  signal: AbortSignal,
  job: (stop: Int32Array) => Promise<void>,
): Promise<void> {
  signal.throwIfAborted();
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const halt = (): void => void Atomics.store(stop, 0, 1);
  signal.addEventListener('abort', halt, { once: true });
  const timer = setTimeout(halt, jobTimeoutMs);
  try {
    await job(stop);
  } catch (error) {
    if (errnoOf(error) !== 'ECANCELED') throw error;
    signal.throwIfAborted();
    throw new EngineError('deadline-exceeded', `${what}: not done within ${jobTimeoutMs} ms`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', halt);
  }
}
