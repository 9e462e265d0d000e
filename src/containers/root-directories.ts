import { closeSync, constants, openSync } from 'node:fs';
import { mkdirat, pathDirectory, unlinkat } from '../linux/at.ts';
import { fstatat } from '../linux/file-status.ts';

/** Where the runtime mounts the kernel's file systems, and makes device nodes. */
const mountPoints = ['dev', 'proc', 'sys'];

/**
 * Puts a real directory in the place of whatever else an image has at /dev, /proc and /sys: by a symlink there runtimes have
 * been led to mount or to make device nodes somewhere else, and to leave /proc/sys writable (CVE-2026-41579,
 * CVE-2026-88264, CVE-2026-88265, CVE-2023-27561, CVE-2023-28642). Before anything of the container runs.
 */
export function makeRealMountPoints(rootfs: string): void {
  const root = openSync(rootfs, pathDirectory);
  try {
    for (const name of mountPoints) {
      const status = fstatat(root, name);
      if (status === undefined || (status.mode & constants.S_IFMT) === constants.S_IFDIR) continue;
      unlinkat(root, name, 0);
      mkdirat(root, name, 0o755);
    }
  } finally {
    closeSync(root);
  }
}
