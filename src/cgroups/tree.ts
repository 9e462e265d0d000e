/** Making, filling and removing cgroups of our own. Never the kubelet's: its parents are not made, limited or removed here. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { readText } from './files.ts';
import { cgroupDirectories, controllerDirectory, type HostCgroups } from './host.ts';

/**
 * Makes a cgroup in every hierarchy, with its parents. Idempotent. Controllers are not handed down here: the runtime does that on the way to a
 * container that has limits, and parents that belong to systemd are left as they are.
 */
export function createCgroup(host: HostCgroups, path: string): void {
  for (const directory of cgroupDirectories(host, path)) mkdirSync(directory, { recursive: true });
  if (host.layout !== 'unified') inheritCpuset(controllerDirectory(host, 'cpuset', '/'), path);
}

/**
 * Moves a process, in every hierarchy. The kernel lets a grace period of RCU pass first, some ten milliseconds.
 * @throws ESRCH when it is gone
 */
export async function addProcess(host: HostCgroups, path: string, pid: number): Promise<void> {
  const [first, ...others] = cgroupDirectories(host, path).map((directory) => `${directory}/cgroup.procs`);
  if (first !== undefined) await writeFile(first, String(pid));
  // The period has passed for all that follow at once: no thread has to wait for them.
  for (const file of others) writeFileSync(file, String(pid));
}

/** All processes in a cgroup and below it; empty when it is gone. */
export function listProcesses(host: HostCgroups, path: string): number[] {
  const found = new Set<number>();
  for (const directory of cgroupDirectories(host, path)) {
    for (const group of descendantsFirst(directory)) {
      for (const pid of readText(group, 'cgroup.procs')?.split('\n') ?? [])
        if (pid !== '') found.add(Number(pid));
    }
  }
  // 0 is a process outside of our pid namespace: not ours to signal.
  found.delete(0);
  return [...found];
}

/**
 * Removes a cgroup with everything below it. Its processes must be ending: the kernel answers EBUSY until the last one has been
 * collected, so it is tried again until the deadline. Idempotent.
 * @throws EngineError failed-precondition with the pids that are still in it
 */
export async function removeCgroup(
  host: HostCgroups,
  path: string,
  options: { readonly timeoutMs: number },
): Promise<void> {
  if (path === '/' || path === '') throw new EngineError('internal', 'the root cgroup cannot be removed');
  const deadline = performance.now() + options.timeoutMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    const busy = cgroupDirectories(host, path).filter((directory) => !tryRemove(directory));
    if (busy.length === 0) return;
    if (performance.now() > deadline) throw stillBusy(host, path);
    await sleep(waitMs);
  }
}

/** The directories of a cgroup's tree, children before parents. */
export function descendantsFirst(directory: string): string[] {
  let children: string[];
  try {
    children = readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${directory}/${entry.name}`);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return [];
    throw error;
  }
  return [...children.flatMap(descendantsFirst), directory];
}

function tryRemove(directory: string): boolean {
  for (const group of descendantsFirst(directory)) {
    try {
      rmdirSync(group);
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'EBUSY') return false;
      if (code !== 'ENOENT') throw error;
    }
  }
  return true;
}

function stillBusy(host: HostCgroups, path: string): EngineError {
  const pids = listProcesses(host, path);
  const who =
    pids.length === 0 ? 'a process that has ended and was not collected' : `processes ${pids.join(', ')}`;
  return new EngineError('failed-precondition', `remove cgroup ${path}: it still has ${who}`);
}

/** v1: a new cpuset has no processor and no memory node, and takes no process until it has. */
function inheritCpuset(root: string | undefined, path: string): void {
  if (root === undefined) return;
  let parent = root;
  for (const part of path.split('/').filter(Boolean)) {
    const directory = `${parent}/${part}`;
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (readText(directory, file) === '')
        writeFileSync(`${directory}/${file}`, readFileSync(`${parent}/${file}`));
    }
    parent = directory;
  }
}
