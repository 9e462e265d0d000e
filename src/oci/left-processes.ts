/** Monitors and runtimes that a daemon before this one started, found by their command lines. */
import { readdirSync, readFileSync, statSync, type BigIntStats } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProcessIdentity, processStartTicks, signalProcess } from '../linux/pidfd.ts';
import { killDescendants } from './process-tree.ts';

export interface LeftProcess extends ProcessIdentity {
  /** `monitor`: of a container. `exec`: a process in a container. `call`: any other call of a runtime, which ends by itself. */
  readonly purpose: 'monitor' | 'exec' | 'call';
  readonly containerId: string;
}

const callPollMs = 10;

/** All whose runtime keeps its state below `runtimes`, the directory that holds one for each handler. */
export function findLeftProcesses(runtimes: string): LeftProcess[] {
  const own = statSync(runtimes, { bigint: true });
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const left = readLeftProcess(Number(name), runtimes);
      // In a container there may be an engine of its own, with the same paths.
      return left !== undefined && seesSame(left.pid, runtimes, own) ? [left] : [];
    });
}

/** Kills it and everything below it. */
export async function endTree(left: LeftProcess): Promise<void> {
  await killDescendants(left);
  signalProcess(left, 'SIGKILL');
}

/** Waits until calls of a runtime have ended; those that have not by then are killed. */
export async function awaitCalls(calls: readonly LeftProcess[], timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let left = calls;
  while (left.length > 0 && Date.now() < deadline) {
    await sleep(callPollMs);
    left = left.filter(({ pid, startTicks }) => processStartTicks(pid) === startTicks);
  }
  for (const call of left) signalProcess(call, 'SIGKILL');
}

function readLeftProcess(pid: number, runtimes: string): LeftProcess | undefined {
  let args: string[];
  try {
    args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return undefined;
  }
  const root = `--root=${runtimes}/`;
  const isMonitor = args.some((argument) => argument.startsWith(`--runtime-arg=${root}`));
  if (!isMonitor && !args.some((argument) => argument.startsWith(root))) return undefined;
  const startTicks = processStartTicks(pid);
  if (startTicks === undefined) return undefined;
  const containerId = isMonitor
    ? args.find((argument) => argument.startsWith('--cid='))?.slice('--cid='.length)
    : args.at(-1);
  const isExec = args.includes(isMonitor ? '--exec' : 'exec');
  const purpose = isExec ? 'exec' : isMonitor ? 'monitor' : 'call';
  return { pid, startTicks, purpose, containerId: containerId ?? '' };
}

function seesSame(pid: number, path: string, own: BigIntStats): boolean {
  try {
    const found = statSync(`/proc/${pid}/root${path}`, { bigint: true });
    return found.dev === own.dev && found.ino === own.ino;
  } catch {
    return false;
  }
}
