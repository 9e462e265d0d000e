import type { Linux } from '../../oci/spec-types.ts';
import type { ContainerSecurity } from '../container-config.ts';
import { cleanPath } from './clean-path.ts';

// GHSA-7ww5-4wqc-m92c, GHSA-jq35-85cj-fj4p: the energy counters below powercap leak what other processes compute.
const maskedByDefault: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

const readonlyByDefault: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/**
 * Paths of the kernel that a container must not see or write. The request's lists replace ours, an empty one included
 * (`procMount: Unmasked`); a privileged container has none.
 */
export function buildPathProtection(
  security: ContainerSecurity,
): Required<Pick<Linux, 'maskedPaths' | 'readonlyPaths'>> {
  if (security.privileged) return { maskedPaths: [], readonlyPaths: [] };
  return {
    maskedPaths: (security.maskedPaths ?? maskedByDefault).map((path) => cleanPath(path, 'masked_paths')),
    readonlyPaths: (security.readonlyPaths ?? readonlyByDefault).map((path) =>
      cleanPath(path, 'readonly_paths'),
    ),
  };
}
