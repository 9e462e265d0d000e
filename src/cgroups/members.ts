/** Who is in a cgroup and below it, read from one hierarchy: for counting. To signal or move them, see tree.ts. */
import { readText } from './files.ts';
import { controllerDirectory, type HostCgroups } from './host.ts';
import { descendantsFirst } from './tree.ts';

// On v1 hosts: the hierarchies that every runtime puts its containers in.
const legacyControllers = ['pids', 'memory', 'cpuacct', 'cpu'];

/** The processes; empty when the cgroup is gone. A process outside of our pid namespace is left out. */
export function listMembers(host: HostCgroups, path: string): number[] {
  const pids = linesBelow(directoryOf(host, path), 'cgroup.procs').map(Number);
  return [...new Set(pids.filter((pid) => pid > 0))];
}

/** For hosts without the pids controller; undefined when the cgroup is gone. */
export function countThreads(host: HostCgroups, path: string): number | undefined {
  const file = host.layout === 'unified' ? 'cgroup.threads' : 'tasks';
  const count = linesBelow(directoryOf(host, path), file).length;
  return count === 0 ? undefined : count;
}

function directoryOf(host: HostCgroups, path: string): string | undefined {
  if (host.layout === 'unified') return controllerDirectory(host, '', path);
  return legacyControllers
    .map((controller) => controllerDirectory(host, controller, path))
    .find((directory) => directory !== undefined);
}

function linesBelow(directory: string | undefined, file: string): string[] {
  if (directory === undefined) return [];
  return descendantsFirst(directory).flatMap((group) =>
    (readText(group, file) ?? '').split('\n').filter((line) => line !== ''),
  );
}
