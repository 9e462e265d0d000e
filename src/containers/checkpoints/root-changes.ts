/** What a container has written and deleted, as its overlay shows it: for the archive of its checkpoint. */
import { closeSync, lstatSync, openSync, readdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { EngineError } from '../../lib/errors.ts';
import { openBeneath, pathDirectory, readDirectory } from '../../linux/at.ts';
import { lgetxattr } from '../../linux/file-status.ts';

/** The directories that a container's root file system is made of. */
export interface RootDirectories {
  /** The mount itself. */
  readonly rootfs: string;
  /** The container's own: what it wrote, and what a restored one brought with it. Top first. */
  readonly own: readonly string[];
  /** The image's layers. Top first. */
  readonly image: readonly string[];
}

export interface RootChanges {
  /** Changed and new files and directories, parents before their children. */
  readonly present: readonly string[];
  readonly deleted: readonly string[];
}

/** After so many names the daemon's other work has its turn: each is looked at by a system call or two. */
const namesInOneTurn = 1000;
/** No honest tree is so deep; more would be a stack overflow of ours. */
const maxDepth = 256;

/**
 * Walks what belongs to the container alone. Names are relative to the root, one character a byte (latin1). Its processes must not run
 * meanwhile. Symlinks are never followed.
 * @throws EngineError failed-precondition if it wrote directories that are too deep to be walked
 */
export async function rootChanges(directories: RootDirectories): Promise<RootChanges> {
  const found = { present: new Set<string>(), deleted: new Set<string>(), names: 0 };
  for (const own of directories.own) await walk(directories, found, { own, path: '', depth: 0 });
  // What one layer deleted a later one may have made again.
  for (const path of found.present) found.deleted.delete(path);
  return { present: [...found.present].toSorted(), deleted: [...found.deleted].toSorted() };
}

interface Found {
  readonly present: Set<string>;
  readonly deleted: Set<string>;
  /** Looked at. */
  names: number;
}

interface Place {
  readonly own: string;
  readonly path: string;
  readonly depth: number;
}

async function walk(directories: RootDirectories, found: Found, { own, path, depth }: Place): Promise<void> {
  if (depth > maxDepth)
    throw new EngineError(
      'failed-precondition',
      `save what the container wrote: it has directories more than ${maxDepth} deep`,
    );
  if (isOpaque(own, path)) addHidden(directories, found, path);
  for (const entry of await readdir(bytesOf(own, path), { withFileTypes: true, encoding: 'buffer' })) {
    const name = entry.name.toString('latin1');
    const below = path === '' ? name : `${path}/${name}`;
    found.names += 1;
    if (found.names % namesInOneTurn === 0) await nextTurn();
    if (isThere(directories.rootfs, below)) found.present.add(below);
    else found.deleted.add(below);
    // Where a later layer has a symlink, what lies below it here is hidden: by name, that is the link's target on the node.
    if (entry.isDirectory() && isDirectory(directories.rootfs, below))
      await walk(directories, found, { own, path: below, depth: depth + 1 });
  }
}

function isDirectory(root: string, path: string): boolean {
  return lstatSync(bytesOf(root, path), { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** An opaque directory hides all that the image has in it. */
function addHidden({ image, rootfs }: RootDirectories, found: Found, path: string): void {
  for (const layer of image)
    for (const name of namesIn(layer, path)) {
      const below = `${path}/${name}`;
      if (!isThere(rootfs, below)) found.deleted.add(below);
    }
}

function namesIn(layer: string, path: string): string[] {
  const root = openSync(layer, pathDirectory);
  try {
    // The image may have a symlink where the container has a directory.
    const fd = openBeneath(root, Buffer.from(`${path}\0`, 'latin1'), readDirectory);
    try {
      return readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }).map((name) =>
        name.toString('latin1'),
      );
    } finally {
      closeSync(fd);
    }
  } catch {
    return [];
  } finally {
    closeSync(root);
  }
}

function isOpaque(own: string, path: string): boolean {
  if (path === '') return false;
  const fd = openSync(own, pathDirectory);
  try {
    const name = Buffer.from(`${path}\0`, 'latin1');
    return lgetxattr(fd, name, 'trusted.overlay.opaque')?.toString() === 'y';
  } finally {
    closeSync(fd);
  }
}

function isThere(root: string, path: string): boolean {
  return lstatSync(bytesOf(root, path), { throwIfNoEntry: false }) !== undefined;
}

function bytesOf(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
}
