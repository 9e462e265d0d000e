/**
 * Killing what an exec started. Its processes share the container's cgroup with everything else, so they are found by descent, and by the
 * session that the runtime made for the exec: a child whose parent has ended belongs to the container's first process by descent,
 * but still to that session. What makes a session of its own and outlives its parent has left on purpose: it goes with the container.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProcessIdentity, signalProcess } from '../linux/pidfd.ts';

interface ListedProcess extends ProcessIdentity {
  readonly parent: number;
  readonly session: number;
  readonly isZombie: boolean;
  readonly isStopped: boolean;
}

const maxRounds = 100;
const betweenRoundsMs = 5;

/**
 * Sends SIGKILL to all descendants of `root` until it has ended and none is left. `root` itself (a runtime or monitor that waits
 * for its child) is left to report the end; one that stays for half a second, perhaps because it has not come to start its child,
 * is stopped, so that it can start nothing any more, and killed. Processes in an uninterruptible wait are given up then.
 */
export async function killDescendants(root: ProcessIdentity): Promise<void> {
  const sessions = new Set<number>();
  // The pid of a root that has ended may be another process's by now, with children of its own.
  if (!isRunning(root)) return;
  const hasEnded = await killUntil(root, sessions, () => !isRunning(root));
  if (hasEnded) return;
  signalProcess(root, 'SIGSTOP');
  await killUntil(root, sessions, () => isStopped(root));
  signalProcess(root, 'SIGKILL');
}

/** Rounds until one that began when `isOver` was true has found nothing more. False when there never was one. */
async function killUntil(
  root: ProcessIdentity,
  sessions: Set<number>,
  isOver: () => boolean,
): Promise<boolean> {
  for (let round = 0; round < maxRounds; round += 1) {
    const isLast = isOver();
    const found = descendants(isRunning(root) ? root.pid : undefined, sessions);
    if (isLast && found.length === 0) return true;
    for (const one of found) signalProcess(one, 'SIGKILL');
    await sleep(betweenRoundsMs);
  }
  return false;
}

/** Adds the sessions that it meets to `sessions`, so that a later round finds what has lost its parents meanwhile. */
function descendants(root: number | undefined, sessions: Set<number>): ListedProcess[] {
  const all = readProcesses();
  const members = new Set(root === undefined ? [] : [root]);
  for (let before = -1; before !== members.size;) {
    before = members.size;
    for (const one of all) {
      if (members.has(one.pid) || (!members.has(one.parent) && !sessions.has(one.session))) continue;
      members.add(one.pid);
      sessions.add(one.session);
    }
  }
  return all.filter((one) => members.has(one.pid) && one.pid !== root && !one.isZombie);
}

function isRunning(process: ProcessIdentity): boolean {
  const found = readProcess(process.pid);
  return found !== undefined && found.startTicks === process.startTicks && !found.isZombie;
}

function isStopped(process: ProcessIdentity): boolean {
  return !isRunning(process) || readProcess(process.pid)?.isStopped === true;
}

function readProcesses(): ListedProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((one) => one !== undefined);
}

/** https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
function readProcess(pid: number): ListedProcess | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '', parent = '', , session = ''] = fields;
  return {
    pid,
    parent: Number(parent),
    session: Number(session),
    startTicks: BigInt(fields[19] ?? 0),
    isZombie: state === 'Z' || state === 'X',
    isStopped: state === 'T',
  };
}
