import { controllerDirectory, type HostCgroups } from './host.ts';
import { writeLine } from './put-back.ts';

/** Takes the CPU quota of a group of cgroup v1 away. @throws the kernel's error */
export async function liftCpuQuota(host: HostCgroups, path: string): Promise<void> {
  const directory = controllerDirectory(host, 'cpu', path);
  if (directory !== undefined) await writeLine(directory, 'cpu.cfs_quota_us', '-1');
}
