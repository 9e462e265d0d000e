import { readKeyed } from './files.ts';
import { controllerDirectory, type HostCgroups } from './host.ts';

/**
 * How many processes of a cgroup the kernel has killed for want of memory, undefined when the cgroup is gone. To be read when a container has
 * ended and before the runtime deletes it: conmon's own watch fails silently past fs.inotify.max_user_instances. A whole
 * group killed at once (memory.oom.group) counts each process.
 */
export function readOomKills(host: HostCgroups, path: string): number | undefined {
  const directory = controllerDirectory(host, 'memory', path);
  const file = host.layout === 'unified' ? 'memory.events' : 'memory.oom_control';
  const count = readKeyed(directory, file)?.get('oom_kill');
  return count === undefined ? undefined : Number(count);
}
