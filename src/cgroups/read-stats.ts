import { readText, type ReadText } from './files.ts';
import type { HostCgroups } from './host.ts';
import { readLegacyStats, readLegacyUsage } from './stats-legacy.ts';
import { readUnifiedStats, readUnifiedUsage } from './stats-unified.ts';
import type { CgroupStats, CgroupUsage } from './stats.ts';

/** Reads all counters of a cgroup and everything below it, in one pass over its files. `path` is absolute in the hierarchy. An empty record: the cgroup is gone. */
export function readStats(host: HostCgroups, path: string): CgroupStats {
  return host.layout === 'unified' ? readUnifiedStats(host, path) : readLegacyStats(host, path);
}

/** Those that are asked for often, in a third of the files. */
export function readUsage(host: HostCgroups, path: string, read: ReadText = readText): CgroupUsage {
  return host.layout === 'unified' ? readUnifiedUsage(host, path, read) : readLegacyUsage(host, path, read);
}
