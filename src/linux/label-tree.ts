import { constants, closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../lib/errors.ts';
import { close, type NativePath, openat, readDirectory } from './at.ts';
import { errnoNumber, SyscallError } from './errors.ts';
import { fstatat, lgetxattr, lsetxattr } from './file-status.ts';
import { bind, O_CLOEXEC, O_PATH } from './libc.ts';

/** Which label, and where. */
export interface LabelTreeRequest {
  /** Absolute, without symlinks: if one stands there by now, nothing is labelled. */
  readonly path: string;
  readonly label: string;
  /** A shared integer: the walk ends with ECANCELED when it is not zero. */
  readonly stop?: Int32Array | undefined;
}

const attribute = 'security.selinux';
/** Deeper levels are left as they are: no honest tree has them, and each costs a descriptor. */
const maxDepth = 512;
const setxattr = bind<[path: string, name: string, value: Uint8Array, size: number, flags: number]>(
  'int setxattr(const char *path, const char *name, const void *value, uint64 size, int flags)',
  { pathArgument: 0 },
);

/**
 * Gives a file, or a directory and all below it, an SELinux label; symlinks are labelled, not followed. A file system
 * without labels is left as it is. Blocks: for a worker.
 * @throws SyscallError: ESTALE if `path` leads elsewhere, ECANCELED if it was stopped
 */
export function labelTree({ path, label, stop }: LabelTreeRequest): void {
  const value = Buffer.from(label);
  const fd = openSync(path, O_PATH | constants.O_NOFOLLOW | O_CLOEXEC);
  try {
    const here = `/proc/self/fd/${fd}`;
    if (readlinkSync(here) !== path) throw new SyscallError('label', errnoNumber('ESTALE'), { path });
    if (!isSupported(() => setxattr(here, attribute, value, value.length, 0))) return;
    const mode = fstatat(fd, '')?.mode ?? 0;
    if ((mode & constants.S_IFMT) !== constants.S_IFDIR) return;
    const directory = openat(fd, '.', readDirectory, 0);
    try {
      labelLevel({ directory, value, stop, depth: 1 });
    } finally {
      close(directory);
    }
  } finally {
    closeSync(fd);
  }
}

interface Level {
  readonly directory: number;
  readonly value: Buffer;
  readonly stop: Int32Array | undefined;
  readonly depth: number;
}

function labelLevel(level: Level): void {
  const { directory, value, stop, depth } = level;
  for (const entry of readdirSync(`/proc/self/fd/${directory}`, { encoding: 'buffer' })) {
    if (stop !== undefined && Atomics.load(stop, 0) !== 0) {
      throw new SyscallError('label', errnoNumber('ECANCELED'));
    }
    const name = Buffer.concat([entry, Buffer.of(0)]);
    const status = fstatat(directory, name);
    if (status === undefined) continue;
    if (!isSupported(() => setUnlessSet(directory, name, value))) continue;
    if ((status.mode & constants.S_IFMT) !== constants.S_IFDIR || depth === maxDepth) continue;
    const child = openIfThere(directory, name);
    if (child === undefined) continue;
    try {
      labelLevel({ ...level, directory: child, depth: depth + 1 });
    } finally {
      close(child);
    }
  }
}

/** A restarted pod finds its volumes labelled: then nothing is written. */
function setUnlessSet(directory: number, name: NativePath, value: Buffer): void {
  const present = lgetxattr(directory, name, attribute);
  const isSet = present?.subarray(0, value.length).equals(value) === true;
  // The kernel hands labels out with their NUL.
  if (!isSet || present.length > value.length + 1) lsetxattr(directory, name, attribute, value);
}

/** False where there are no labels, or where the name has gone meanwhile. */
function isSupported(set: () => void): boolean {
  try {
    set();
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOTSUP' || errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function openIfThere(directory: number, name: NativePath): number | undefined {
  try {
    return openat(directory, name, readDirectory, 0);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
