import { constants, closeSync, openSync, readdirSync } from 'node:fs';
import { errnoOf } from '../../lib/errors.ts';
import { close, openat, readDirectory } from '../../linux/at.ts';
import { fstatat } from '../../linux/file-status.ts';
import { nativeName } from './entry-name.ts';

/** What a tree takes on disk. */
export interface TreeUsage {
  readonly bytes: number;
  readonly inodes: number;
}

/** Deeper levels are not counted: no honest file system reaches them, and each costs a descriptor during the walk. */
const maxDepth = 512;

/**
 * Counts the blocks and inodes of the directory `path` and all below it, a file with several names once. Runs on
 * live trees: what disappears meanwhile is passed over.
 * @throws if `path` itself cannot be opened
 */
export function treeUsage(path: string): TreeUsage {
  const linked = new Set<bigint>();
  let bytes = 0;
  let inodes = 0;

  const count = (dirFd: number, name: Parameters<typeof fstatat>[1]): number => {
    const status = fstatat(dirFd, name);
    if (status === undefined) return 0;
    const type = status.mode & constants.S_IFMT;
    if (type !== constants.S_IFDIR && status.nlink > 1) {
      if (linked.has(status.inode)) return type;
      linked.add(status.inode);
    }
    bytes += status.blocks * 512;
    inodes += 1;
    return type;
  };

  const walk = (fd: number, depth: number): void => {
    for (const child of readdirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1' })) {
      const name = nativeName(child);
      if (count(fd, name) !== constants.S_IFDIR || depth === maxDepth) continue;
      const childFd = openIfThere(fd, name);
      if (childFd === undefined) continue;
      try {
        walk(childFd, depth + 1);
      } finally {
        close(childFd);
      }
    }
  };

  const root = openSync(path, readDirectory);
  try {
    count(root, '');
    walk(root, 1);
  } finally {
    closeSync(root);
  }
  return { bytes, inodes };
}

function openIfThere(dirFd: number, name: Parameters<typeof openat>[1]): number | undefined {
  try {
    return openat(dirFd, name, readDirectory, 0);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
