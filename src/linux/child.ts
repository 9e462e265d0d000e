import { errnoOf } from '../lib/errors.ts';
import { bind, close } from './libc.ts';
import { openPidfd, processStartTicks, sendSignal, watchExit } from './pidfd.ts';
import type { Poller } from './poll.ts';

const WNOHANG = 1;
const waitpid = bind<[pid: number, status: Uint8Array, options: number]>(
  'pid_t waitpid(pid_t pid, void *status, int options)',
);

/** How a process ended: one of the two is set; neither, when something else had collected it. */
export interface ProcessExit {
  readonly exitCode: number | undefined;
  /** The signal's number. */
  readonly signal: number | undefined;
}

/** A process that this one started. */
export interface ChildProcessHandle {
  readonly pid: number;
  /** Names the process together with the pid, also after a restart of the daemon. */
  readonly startTicks: bigint;
  /** Resolves once the process has ended and has been collected. Rejects only when the poller is closed before it is watched. */
  readonly exited: Promise<ProcessExit>;
  /** False when the process has ended. */
  kill(signal: NodeJS.Signals | number): boolean;
}

/** Takes over a child just made by posix_spawn: from here on it is watched, and collected when it ends. */
export function adoptChild(pid: number, poller: Poller): ChildProcessHandle {
  const { pidfd, startTicks } = openChild(pid);
  let open = true;
  const exited = collectExit(pid, pidfd, poller).finally(() => {
    open = false;
    close(pidfd);
  });
  // Who does not care how the process ends need not listen.
  exited.catch(() => {});
  return { pid, startTicks, exited, kill: (signal) => open && sendSignal(pidfd, signal) };
}

function openChild(pid: number): { readonly pidfd: number; readonly startTicks: bigint } {
  let pidfd: number | undefined;
  try {
    pidfd = openPidfd(pid);
    // Not yet collected, so it is there even if it has ended.
    return { pidfd, startTicks: processStartTicks(pid) ?? 0n };
  } catch (error) {
    // Out of descriptors, most likely. Not yet collected, so the pid is still the child's.
    process.kill(pid, 'SIGKILL');
    waitpid(pid, Buffer.alloc(4), 0);
    if (pidfd !== undefined) close(pidfd);
    throw error;
  }
}

/** Only ever asks for this pid: any wider wait would steal libuv's children. */
async function collectExit(pid: number, pidfd: number, poller: Poller): Promise<ProcessExit> {
  await watchExit(pidfd, poller);
  for (let attempt = 0; ; attempt += 1) {
    const exit = tryCollect(pid);
    if (exit !== undefined) return exit;
    // The pidfd may be ready a moment before the process can be collected.
    await new Promise((resolve) =>
      attempt < 10 ? setImmediate(resolve) : setTimeout(resolve, Math.min(attempt, 50)),
    );
  }
}

function tryCollect(pid: number): ProcessExit | undefined {
  const status = Buffer.alloc(4);
  try {
    return waitpid(pid, status, WNOHANG) === 0 ? undefined : decodeStatus(status.readInt32LE(0));
  } catch (error) {
    if (errnoOf(error) === 'EINTR') return undefined;
    if (errnoOf(error) === 'ECHILD') return { exitCode: undefined, signal: undefined };
    throw error;
  }
}

function decodeStatus(status: number): ProcessExit {
  const signal = status & 0x7f;
  return signal === 0
    ? { exitCode: (status >> 8) & 0xff, signal: undefined }
    : { exitCode: undefined, signal };
}
