import { readMounts } from './mountinfo.ts';
import { unmount } from './mount.ts';

/**
 * Unmounts everything at and below a directory of ours, the last mount first; no error if there is nothing. Lazy,
 * so that a mount that a process still uses goes with that process and does not keep the directory.
 */
export function unmountTree(directory: string): void {
  const targets = readMounts().flatMap(({ target }) =>
    target === directory || target.startsWith(`${directory}/`) ? [target] : [],
  );
  for (const target of targets.toReversed()) unmount(target, { lazy: true });
}
