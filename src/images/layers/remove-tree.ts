/** Removal of trees that others have shaped: below descriptors, whatever their depth. */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { errnoOf } from '../../lib/errors.ts';
import {
  AT_REMOVEDIR,
  close,
  type NativePath,
  openat,
  readDirectory,
  renameat,
  unlinkat,
} from '../../linux/at.ts';
import { nativeName } from './entry-name.ts';

/** Levels that are held open at once. What lies deeper is moved up first: paths may be longer than PATH_MAX. */
const maxDepth = 128;

/**
 * Removes `name` below `dirFd` and all that it holds; symlinks are removed, not followed. A name that does not exist
 * is no error. A directory too deep to walk is moved next to `name` for a moment.
 * @throws SyscallError
 */
export function removeTree(dirFd: number, name: NativePath): void {
  const pending: NativePath[] = [name];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const moveUp = (parent: number, child: NativePath): void => {
      const place = `.gantry-deep-${randomBytes(8).toString('hex')}`;
      renameat({ dirFd: parent, name: child }, { dirFd, name: place });
      pending.push(place);
    };
    removeLevel({ dirFd, name: next, depth: 0 }, moveUp);
  }
}

interface Level {
  readonly dirFd: number;
  readonly name: NativePath;
  readonly depth: number;
}

function removeLevel(level: Level, moveUp: (parent: number, child: NativePath) => void): void {
  if (unlinkUnlessDirectory(level)) return;
  if (level.depth === maxDepth) {
    moveUp(level.dirFd, level.name);
    return;
  }
  const fd = openat(level.dirFd, level.name, readDirectory, 0);
  try {
    for (const child of readdirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1' })) {
      removeLevel({ dirFd: fd, name: nativeName(child), depth: level.depth + 1 }, moveUp);
    }
  } finally {
    close(fd);
  }
  unlinkat(level.dirFd, level.name, AT_REMOVEDIR);
}

function unlinkUnlessDirectory(level: Level): boolean {
  try {
    unlinkat(level.dirFd, level.name, 0);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    if (errnoOf(error) === 'EISDIR') return false;
    throw error;
  }
}
