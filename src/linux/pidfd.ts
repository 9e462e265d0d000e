/** Signals and ends of processes by pidfd: a pid alone may belong to another process by the time it is used. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoOf } from '../lib/errors.ts';
import { bind, close, type NativeArgument } from './libc.ts';
import { type Poller, untilReady } from './poll.ts';

// The same numbers on every architecture (asm-generic/unistd.h). pidfds are always close-on-exec.
const PIDFD_SEND_SIGNAL = 424;
const PIDFD_OPEN = 434;
const callOpen = bind<[call: number, pid: number, flags: number]>(
  'long syscall(long n, int pid, int flags)',
  {
    name: 'pidfd_open',
  },
);
const callSendSignal = bind<
  [call: number, pidfd: number, signal: number, info: NativeArgument, flags: number]
>('long syscall(long n, int pidfd, int signal, void *info, int flags)', { name: 'pidfd_send_signal' });

/** A process beyond doubt: its pid and when it started (field 22 of its stat file, in clock ticks since boot). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: bigint;
}

/** Throws SyscallError ESRCH when there is no such process. The caller closes the descriptor. */
export function openPidfd(pid: number): number {
  return callOpen(PIDFD_OPEN, pid, 0);
}

/** The pidfd of exactly this process, undefined when it has ended and been collected. The caller closes it. */
export function openProcess(process: ProcessIdentity): number | undefined {
  let pidfd: number;
  try {
    pidfd = openPidfd(process.pid);
  } catch (error) {
    // The latter two: the number is a thread's by now.
    if (['ESRCH', 'EINVAL', 'ENOENT'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
  let isSame = false;
  try {
    // Read after the descriptor was opened: from here on the pid cannot pass to another process unnoticed.
    isSame = processStartTicks(process.pid) === process.startTicks;
    return isSame ? pidfd : undefined;
  } finally {
    if (!isSame) close(pidfd);
  }
}

/** False when the process has ended. Signal 0 only asks; a process that has ended but is not yet collected still counts as there. */
export function sendSignal(pidfd: number, signal: NodeJS.Signals | number): boolean {
  try {
    callSendSignal(PIDFD_SEND_SIGNAL, pidfd, signalNumber(signal), null, 0);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** Signals a process known from a record; false when it has ended, whoever has its pid now. */
export function signalProcess(process: ProcessIdentity, signal: NodeJS.Signals | number): boolean {
  const pidfd = openProcess(process);
  if (pidfd === undefined) return false;
  try {
    return sendSignal(pidfd, signal);
  } finally {
    close(pidfd);
  }
}

/** When the process started, in clock ticks since boot; undefined when there is none. */
export function processStartTicks(pid: number): bigint | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
  // The program's name comes second, in parentheses, and may itself hold spaces and parentheses.
  const field = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[22 - 3];
  return field === undefined ? undefined : BigInt(field);
}

/** Resolves when the process has ended (it may still wait to be collected). Rejects only with the signal's reason. */
export async function watchExit(pidfd: number, poller: Poller, signal?: AbortSignal): Promise<void> {
  await untilReady(poller, pidfd, { events: 'read', signal });
}

function signalNumber(signal: NodeJS.Signals | number): number {
  return typeof signal === 'number' ? signal : constants.signals[signal];
}
