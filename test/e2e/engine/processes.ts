/** Processes of the node, found by what their command lines say. */
import { readdirSync, readFileSync } from 'node:fs';

/** Pids of the processes (not zombies) whose arguments, joined by spaces, match. */
export function findProcesses(pattern: RegExp): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pattern.test(commandOf(pid)));
}

/** The conmon of a container. @throws Error when there is not exactly one */
export function monitorOf(containerId: string): number {
  const found = findProcesses(new RegExp(`conmon .*--cid=${containerId} `));
  const [pid] = found;
  if (pid === undefined || found.length > 1)
    throw new Error(`${found.length} monitors of container ${containerId}`);
  return pid;
}

/** True while there is a process, which is not a zombie, under this pid. */
export function isRunning(pid: number): boolean {
  return commandOf(pid) !== '';
}

/** Empty for a process that has ended. */
function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
