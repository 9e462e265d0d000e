import { readFileSync } from 'node:fs';

/** Changes with every boot of the machine: what was recorded under another one (pids, mounts, namespaces) no longer exists. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
