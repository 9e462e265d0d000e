/**
 * Copies a directory of a root file system that is not to be trusted, by descriptors: no symlink in it is followed,
 * and nothing outside of the root is read (CVE-2022-23648).
 */
import { constants, closeSync, fstatSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { errnoOf } from '../lib/errors.ts';
import {
  close,
  fchmodat,
  fchownat,
  ftruncate,
  linkat,
  mkdirat,
  mknodat,
  type NativePath,
  openat,
  openInRoot,
  pathDirectory,
  readDirectory,
  readFile,
  readlinkat,
  symlinkat,
  utimensat,
} from './at.ts';
import { errnoNumber, SyscallError } from './errors.ts';
import { type FileStatus, fstatat, lgetxattr, llistxattr, lsetxattr } from './file-status.ts';
import { bind, O_CLOEXEC } from './libc.ts';

/** What is copied, and where to. */
export interface CopyTreeRequest {
  /** The root file system. */
  readonly root: string;
  /** A directory, as a process chrooted to `root` names it. */
  readonly directory: string;
  /** An empty directory that nobody else uses. */
  readonly target: string;
  /** A shared integer: the copy ends with ECANCELED when it is not zero. */
  readonly stop?: Int32Array | undefined;
}

/** Each level holds two descriptors. No honest tree is so deep. */
const maxDepth = 256;
const chunkBytes = 1024 ** 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const createNew =
  constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC;

const lseek = bind<[fd: number, offset: number, whence: number]>(
  'off_t lseek(int fd, off_t offset, int whence)',
);

/**
 * Copies content, mode, owner, attributes and times of `directory` itself and of all in it; hard links within it and
 * holes of sparse files stay what they are. Blocks: for a worker, unless the directory is empty.
 * @returns false if there is no such directory in the root, with nothing copied
 * @throws SyscallError: ENOTDIR if it is a file, ECANCELED if it was stopped, ENAMETOOLONG if it is too deep
 */
export function copyTree(request: CopyTreeRequest): boolean {
  using fds = new DisposableStack();
  const hold = (fd: number): number => {
    fds.defer(() => closeSync(fd));
    return fd;
  };
  const root = hold(openSync(request.root, pathDirectory));
  const from = openDirectory(root, request.directory);
  if (from === undefined) return false;
  hold(from);
  const to = hold(openSync(request.target, readDirectory));
  new Copy(to, request.stop).level({ from, to, path: Buffer.alloc(0), depth: 0 });
  const status = fstatat(from, '');
  if (status !== undefined) copyAttributes({ dirFd: from, name: '' }, { dirFd: to, name: '.' }, status);
  return true;
}

/** True if a root file system has entries in this directory; false also when there is no such directory. */
export function hasEntries(root: string, directory: string): boolean {
  const rootFd = openSync(root, pathDirectory);
  try {
    const fd = openDirectory(rootFd, directory);
    if (fd === undefined) return false;
    try {
      return readdirSync(`/proc/self/fd/${fd}`).length > 0;
    } finally {
      close(fd);
    }
  } finally {
    closeSync(rootFd);
  }
}

function openDirectory(root: number, directory: string): number | undefined {
  try {
    return openInRoot(root, directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

interface Level {
  readonly from: number;
  readonly to: number;
  /** From the target's root, without NUL. */
  readonly path: Buffer;
  readonly depth: number;
}

interface Place {
  readonly dirFd: number;
  readonly name: NativePath;
}

class Copy {
  readonly #root: number;
  readonly #stop: Int32Array | undefined;
  readonly #buffer = Buffer.allocUnsafe(chunkBytes);
  /** Where the first name of a file with several was copied to, by its inode. */
  readonly #linked = new Map<bigint, Buffer>();

  constructor(root: number, stop: Int32Array | undefined) {
    this.#root = root;
    this.#stop = stop;
  }

  level(level: Level): void {
    if (level.depth > maxDepth) throw new SyscallError('copy', errnoNumber('ENAMETOOLONG'));
    for (const entry of readdirSync(`/proc/self/fd/${level.from}`, { encoding: 'buffer' })) {
      this.#checkStop();
      this.#entry(level, entry);
    }
  }

  #entry(level: Level, entry: Buffer): void {
    const name = terminated(entry);
    const source = { dirFd: level.from, name };
    const target = { dirFd: level.to, name };
    const status = fstatat(level.from, name);
    if (status === undefined) return;
    const path = level.path.length === 0 ? entry : Buffer.concat([level.path, Buffer.from('/'), entry]);
    if (this.#isLinked(status, path, target)) return;
    switch (status.mode & constants.S_IFMT) {
      case constants.S_IFDIR:
        this.#directory(level, name, path);
        break;
      case constants.S_IFREG:
        this.#file(source, target);
        break;
      case constants.S_IFLNK:
        symlinkat(terminated(readlinkat(level.from, name)), level.to, name);
        break;
      default:
        mknodat(level.to, name, status.mode & constants.S_IFMT, {
          major: status.deviceMajor,
          minor: status.deviceMinor,
        });
    }
    copyAttributes(source, target, status);
  }

  #directory(level: Level, name: NativePath, path: Buffer): void {
    mkdirat(level.to, name, 0o700);
    const from = openat(level.from, name, readDirectory, 0);
    try {
      const to = openat(level.to, name, readDirectory, 0);
      try {
        this.level({ from, to, path, depth: level.depth + 1 });
      } finally {
        close(to);
      }
    } finally {
      close(from);
    }
  }

  #file(source: Place, target: Place): void {
    const from = openat(source.dirFd, source.name, readFile, 0);
    try {
      const to = openat(target.dirFd, target.name, createNew, 0o600);
      try {
        this.#content(from, to);
      } finally {
        close(to);
      }
    } finally {
      close(from);
    }
  }

  /** Only what is there: an image may claim exabytes that are one hole. */
  #content(from: number, to: number): void {
    const { size } = fstatSync(from);
    if (!Number.isSafeInteger(size)) throw new SyscallError('copy', errnoNumber('EFBIG'));
    for (let at = nextData(from, 0); at < size; at = nextData(from, at)) {
      const end = Math.min(lseek(from, at, SEEK_HOLE), size);
      while (at < end) {
        this.#checkStop();
        const count = readSync(from, this.#buffer, 0, Math.min(chunkBytes, end - at), at);
        if (count === 0) return;
        for (let done = 0; done < count;) {
          done += writeSync(to, this.#buffer, done, count - done, at + done);
        }
        at += count;
      }
    }
    ftruncate(to, size);
  }

  #isLinked({ mode, nlink, inode }: FileStatus, path: Buffer, target: Place): boolean {
    if (nlink < 2 || (mode & constants.S_IFMT) === constants.S_IFDIR) return false;
    const first = this.#linked.get(inode);
    if (first === undefined) {
      this.#linked.set(inode, path);
      return false;
    }
    try {
      linkat({ dirFd: this.#root, name: terminated(first) }, target);
      return true;
    } catch (error) {
      // Then it becomes a file of its own.
      if (errnoOf(error) === 'ENAMETOOLONG' || errnoOf(error) === 'EMLINK') return false;
      throw error;
    }
  }

  #checkStop(): void {
    if (this.#stop !== undefined && Atomics.load(this.#stop, 0) !== 0) {
      throw new SyscallError('copy', errnoNumber('ECANCELED'));
    }
  }
}

function nextData(fd: number, at: number): number {
  try {
    return lseek(fd, at, SEEK_DATA);
  } catch (error) {
    if (errnoOf(error) === 'ENXIO') return Infinity;
    throw error;
  }
}

/** Owner first: a change of it clears setuid bits and file capabilities. */
function copyAttributes(source: Place, target: Place, status: FileStatus): void {
  fchownat(target.dirFd, target.name, status.uid, status.gid);
  if ((status.mode & constants.S_IFMT) !== constants.S_IFLNK) {
    fchmodat(target.dirFd, target.name, status.mode & 0o7777);
  }
  for (const attribute of llistxattr(source.dirFd, source.name)) {
    if (isCopied(attribute)) copyAttribute(source, target, attribute);
  }
  utimensat(target.dirFd, target.name, { seconds: status.mtimeSeconds, nanoseconds: 0 });
}

/** Not the label, which belongs to the place, nor what overlayfs keeps for itself. */
function isCopied(attribute: string): boolean {
  return /^(?:user\.|security\.capability$|system\.posix_acl_)/.test(attribute);
}

function copyAttribute(source: Place, target: Place, attribute: string): void {
  const value = lgetxattr(source.dirFd, source.name, attribute);
  if (value === undefined) return;
  try {
    lsetxattr(target.dirFd, target.name, attribute, value);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTSUP') throw error;
  }
}

function terminated(name: Buffer): NativePath {
  return Buffer.concat([name, Buffer.of(0)]);
}
