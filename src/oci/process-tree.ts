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
}

const maxRounds = 100;
const betweenRoundsMs = 5;

/**
 * Sends SIGKILL to all descendants of `root` until none is left. `root` itself (a runtime or monitor that waits for its child) is left to report
 * the end, and killed only when it stays without a child. A process in an uninterruptible wait is given up after half a second.
 */
export async function killDescendants(root: ProcessIdentity): Promise<void> {
  const sessions = new Set<number>();
  // The pid of a root that has ended may be another process's by now, with children of its own.
  if (!isRunning(root)) return;
  for (let round = 0; round < maxRounds; round += 1) {
    const found = descendants(isRunning(root) ? root.pid : undefined, sessions);
    if (found.length === 0 && round > 0) break;
    for (const one of found) signalProcess(one, 'SIGKILL');
    await sleep(betweenRoundsMs);
  }
  for (let round = 0; round < maxRounds; round += 1) {
    if (!isRunning(root)) return;
    if (round === maxRounds - 1) signalProcess(root, 'SIGKILL');
    await sleep(betweenRoundsMs);
  }
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
  };
}
