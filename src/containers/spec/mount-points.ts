/**
 * Where a request may mount something. What lies over files of /proc hides from the runtime, and from every later exec, the files by
 * which it confines a process: labels, capabilities, user mappings (CVE-2019-16884).
 */
import { isAtOrBelow } from './clean-path.ts';
import { invalidField } from './invalid-field.ts';

/** Files that only tell something: per-container views of them are common (lxcfs). */
const replaceable: ReadonlySet<string> = new Set([
  '/proc/cpuinfo',
  '/proc/diskstats',
  '/proc/loadavg',
  '/proc/meminfo',
  '/proc/slabinfo',
  '/proc/stat',
  '/proc/swaps',
  '/proc/uptime',
]);

/** Both paths clean. @throws EngineError invalid-argument naming the field */
export function checkMountPoint(destination: string, source: string, field: string): void {
  const problem = problemOf(destination, source);
  if (problem !== undefined) throw invalidField(`${field}.container_path`, problem);
}

function problemOf(destination: string, source: string): string | undefined {
  if (destination === '/') return 'the root cannot be mounted over';
  if (!isAtOrBelow(destination, '/proc') || replaceable.has(destination)) return undefined;
  // The node's own /proc in its place is a view of it, which a pod may be given.
  if (destination === '/proc' && source === '/proc') return undefined;
  return `${JSON.stringify(destination)} is the kernel's: nothing can be mounted there`;
}
