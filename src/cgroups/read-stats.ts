import type { HostCgroups } from './host.ts';
import { readLegacyStats } from './stats-legacy.ts';
import { readUnifiedStats } from './stats-unified.ts';
import type { CgroupStats } from './stats.ts';

/** Reads all counters of a cgroup and everything below it, in one pass over its files. `path` is absolute in the hierarchy. An empty record: the cgroup is gone. */
export function readStats(host: HostCgroups, path: string): CgroupStats {
  return host.layout === 'unified' ? readUnifiedStats(host, path) : readLegacyStats(host, path);
}
