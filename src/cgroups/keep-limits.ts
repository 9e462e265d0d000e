import { listNames } from './files.ts';
import { cgroupDirectories, controllerDirectory, type HostCgroups } from './host.ts';
import { keep, type PutBack, putBack } from './put-back.ts';

/** In the order in which they are put back. */
const unifiedFiles = [
  'cpu.idle',
  'cpu.weight',
  'cpu.max',
  'cpu.max.burst',
  'cpuset.cpus',
  'cpuset.mems',
  'memory.max',
  'memory.swap.max',
  'memory.high',
  'memory.low',
  'memory.min',
  'pids.max',
];

const legacyFiles: Readonly<Record<string, readonly string[]>> = {
  cpu: ['cpu.shares', 'cpu.cfs_period_us', 'cpu.cfs_quota_us', 'cpu.rt_period_us', 'cpu.rt_runtime_us'],
  cpuset: ['cpuset.cpus', 'cpuset.mems'],
  memory: [
    'memory.memsw.limit_in_bytes',
    'memory.limit_in_bytes',
    'memory.soft_limit_in_bytes',
    'memory.swappiness',
  ],
  pids: ['pids.max'],
};
const hugepageFile = /^hugetlb\.[^.]+(?:\.rsvd)?\.(?:max|limit_in_bytes)$/;

/**
 * The limits of cgroups as they are now, to be put back when a change by an OCI runtime comes to nothing: that is not all or nothing.
 * Every limit that the engine can ask a runtime for but `memory.oom_control` of cgroup v1; `more` names further files of cgroup v2.
 */
export function keepLimits(
  host: HostCgroups,
  paths: Iterable<string>,
  more: readonly string[] = [],
): PutBack {
  const files = [...paths].flatMap((path) => limitFiles(host, path, more));
  const kept = files.flatMap(({ directory, file }) => keep(directory, file) ?? []);
  return async () => await putBack(kept);
}

interface LimitFile {
  readonly directory: string;
  readonly file: string;
}

function limitFiles(host: HostCgroups, path: string, more: readonly string[]): LimitFile[] {
  const hugepages = cgroupDirectories(host, path).flatMap((directory) =>
    listNames(directory)
      .filter((name) => hugepageFile.test(name))
      .map((file) => ({ directory, file })),
  );
  const known = host.layout === 'unified' ? { '': [...new Set([...unifiedFiles, ...more])] } : legacyFiles;
  const files = Object.entries(known).flatMap(([controller, names]) => {
    const directory = controllerDirectory(host, controller, path);
    return directory === undefined ? [] : names.map((file) => ({ directory, file }));
  });
  return [...files, ...hugepages];
}
