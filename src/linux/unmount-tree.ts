import { type Dirent, readdirSync } from 'node:fs';
import { errnoOf } from '../lib/errors.ts';
import { unmount } from './mount.ts';

/**
 * Unmounts everything at and below a directory of ours; no error if there is nothing. Lazy, so that a mount that a process still uses
 * goes with that process and does not keep the directory. It walks: the kernel's table of mounts has three lines for each pod, and
 * to read all of it for each one that ends takes a node with hundreds of them longer than the rest. What is mounted is never entered.
 */
export function unmountTree(directory: string): void {
  unmountAll(directory);
  for (const entry of entriesOf(directory)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) unmountTree(path);
    else unmountAll(path);
  }
}

/** Mounts may lie over each other. */
function unmountAll(path: string): void {
  while (unmount(path, { lazy: true }));
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
