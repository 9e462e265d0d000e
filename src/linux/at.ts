/**
 * File operations relative to directory descriptors. Whoever works in a tree that others may shape (a layer, a
 * container's root) names files by a descriptor and a name below it, so that no symlink and no `..` leads outside.
 *
 * A name is a string, or bytes that end in NUL where it need not be UTF-8. All throw SyscallError.
 */
import { constants } from 'node:fs';
import { type DeviceNumbers, packDevice } from './device-number.ts';
import { SyscallError } from './errors.ts';
import { bind, close as closeFd, O_CLOEXEC, O_PATH } from './libc.ts';

/** A path for the kernel: text, or bytes with their NUL. */
export type NativePath = string | Uint8Array;

export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;

/** Opens a directory as a place to work below; it cannot be read. */
export const pathDirectory = O_PATH | constants.O_DIRECTORY | O_CLOEXEC;
/** Opens a directory itself, to be listed; a symlink in its place is refused. */
export const readDirectory = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | O_CLOEXEC;

/** Opens a file of a tree that others may shape; a symlink in its place is refused, and a FIFO does not block. */
export const readFile = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | O_CLOEXEC;

const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_BENEATH = 0x08n;
const RESOLVE_IN_ROOT = 0x10n;
const SYS_openat2 = 437;
/** The kernel answers EAGAIN when a rename or mount ran beside a resolution that had to be proved safe. */
const maxRaces = 64;

const how = Buffer.alloc(24);
const openat2 = bind<[n: number, dirFd: number, path: NativePath, how: Buffer, size: number]>(
  'int64 syscall(int64 n, int64 dirfd, const char *path, void *how, int64 size)',
  { name: 'openat2', pathArgument: 2 },
);

/**
 * Opens `path` as a process chrooted to `rootFd` would: absolute paths and symlinks start there, `..` stops there.
 * Descriptors are O_CLOEXEC.
 */
export function openInRoot(rootFd: number, path: NativePath, flags: number, mode = 0): number {
  return resolve(rootFd, path, { flags, mode, resolveFlags: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS });
}

/** Opens `path` below `dirFd`; anything that would leave it (absolute, `..`, a symlink out) is EXDEV. */
export function openBeneath(dirFd: number, path: NativePath, flags: number, mode = 0): number {
  return resolve(dirFd, path, { flags, mode, resolveFlags: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS });
}

function resolve(
  dirFd: number,
  path: NativePath,
  options: { readonly flags: number; readonly mode: number; readonly resolveFlags: bigint },
): number {
  for (let attempt = 1; ; attempt += 1) {
    how.writeBigUInt64LE(BigInt(options.flags | O_CLOEXEC), 0);
    how.writeBigUInt64LE(BigInt(options.mode), 8);
    how.writeBigUInt64LE(options.resolveFlags, 16);
    try {
      return openat2(SYS_openat2, dirFd, path, how, how.length);
    } catch (error) {
      const isRace = error instanceof SyscallError && (error.code === 'EAGAIN' || error.code === 'EINTR');
      if (!isRace || attempt === maxRaces) throw error;
    }
  }
}

/** Plain openat: for a single name that holds no slash, with O_NOFOLLOW where its owner is not ourselves. */
export const openat = bind<[dirFd: number, name: NativePath, flags: number, mode: number]>(
  'int openat(int dirfd, const char *name, int flags, mode_t mode)',
  { pathArgument: 1 },
);

export const mkdirat = bind<[dirFd: number, name: NativePath, mode: number]>(
  'int mkdirat(int dirfd, const char *name, mode_t mode)',
  { pathArgument: 1 },
);

const nativeMknodat = bind<[dirFd: number, name: NativePath, mode: number, device: bigint]>(
  'int mknodat(int dirfd, const char *name, mode_t mode, dev_t dev)',
  { pathArgument: 1 },
);

/** `mode` holds the file type (`S_IFCHR`, ...) and permissions, from which the umask is taken. */
export function mknodat(dirFd: number, name: NativePath, mode: number, device: DeviceNumbers): void {
  nativeMknodat(dirFd, name, mode, packDevice(device));
}

export const symlinkat = bind<[target: NativePath, dirFd: number, name: NativePath]>(
  'int symlinkat(const char *target, int dirfd, const char *name)',
  { pathArgument: 2 },
);

const nativeLinkat = bind<[oldDir: number, old: NativePath, newDir: number, name: NativePath, flags: number]>(
  'int linkat(int olddir, const char *old, int newdir, const char *name, int flags)',
  { pathArgument: 1 },
);

/** A place in the file tree: a name below a directory descriptor. */
export interface Place {
  readonly dirFd: number;
  readonly name: NativePath;
}

/** A hard link; of a symlink itself, not of what it names. */
export function linkat(from: Place, to: Place): void {
  nativeLinkat(from.dirFd, from.name, to.dirFd, to.name, 0);
}

const nativeRenameat = bind<[oldDir: number, old: NativePath, newDir: number, name: NativePath]>(
  'int renameat(int olddir, const char *old, int newdir, const char *name)',
  { pathArgument: 1 },
);

/** Moves a file or directory within one file system, replacing what `to` names if the kernel allows that. */
export function renameat(from: Place, to: Place): void {
  nativeRenameat(from.dirFd, from.name, to.dirFd, to.name);
}

/** `flags`: AT_REMOVEDIR to remove an empty directory instead of a file. */
export const unlinkat = bind<[dirFd: number, name: NativePath, flags: number]>(
  'int unlinkat(int dirfd, const char *name, int flags)',
  { pathArgument: 1 },
);

const nativeFchownat = bind<[dirFd: number, name: NativePath, uid: number, gid: number, flags: number]>(
  'int fchownat(int dirfd, const char *name, uid_t uid, gid_t gid, int flags)',
  { pathArgument: 1 },
);

/** Owner and group of the name itself, symlinks not followed. Clears setuid bits and file capabilities. */
export function fchownat(dirFd: number, name: NativePath, uid: number, gid: number): void {
  nativeFchownat(dirFd, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}

export const fchown = bind<[fd: number, uid: number, gid: number]>(
  'int fchown(int fd, uid_t uid, gid_t gid)',
);
export const fchmod = bind<[fd: number, mode: number]>('int fchmod(int fd, mode_t mode)');

const nativeFchmodat = bind<[dirFd: number, name: NativePath, mode: number, flags: number]>(
  'int fchmodat(int dirfd, const char *name, mode_t mode, int flags)',
  { pathArgument: 1 },
);

/** Follows a symlink: only for a name that the caller made itself, and that nobody else can replace. */
export function fchmodat(dirFd: number, name: NativePath, mode: number): void {
  nativeFchmodat(dirFd, name, mode, 0);
}

/** A time of a file. `seconds` may be negative. */
export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

const times = Buffer.alloc(32);
const nativeUtimensat = bind<[dirFd: number, name: NativePath, times: Buffer, flags: number]>(
  'int utimensat(int dirfd, const char *name, void *times, int flags)',
  { pathArgument: 1 },
);
const nativeFutimens = bind<[fd: number, times: Buffer]>('int futimens(int fd, void *times)');

/** Sets both access and modification time of the name itself, symlinks not followed. */
export function utimensat(dirFd: number, name: NativePath, time: FileTime): void {
  nativeUtimensat(dirFd, name, fillTimes(time), AT_SYMLINK_NOFOLLOW);
}

/** Sets both access and modification time of an open file. */
export function futimens(fd: number, time: FileTime): void {
  nativeFutimens(fd, fillTimes(time));
}

function fillTimes(time: FileTime): Buffer {
  for (const at of [0, 16]) {
    times.writeBigInt64LE(BigInt(time.seconds), at);
    times.writeBigInt64LE(BigInt(time.nanoseconds), at + 8);
  }
  return times;
}

const linkBuffer = Buffer.alloc(4096);
const nativeReadlinkat = bind<[dirFd: number, name: NativePath, buffer: Buffer, size: number]>(
  'ssize_t readlinkat(int dirfd, const char *name, void *buffer, uint64 size)',
  { pathArgument: 1 },
);

/** The target of a symlink, as bytes (without NUL). */
export function readlinkat(dirFd: number, name: NativePath): Buffer {
  const length = nativeReadlinkat(dirFd, name, linkBuffer, linkBuffer.length);
  return Buffer.from(linkBuffer.subarray(0, length));
}

export const ftruncate = bind<[fd: number, sizeBytes: number]>('int ftruncate(int fd, off_t length)');

/** Writes back all that the file system of `fd` has not written yet, its metadata too. May take seconds. */
export const syncfs = bind<[fd: number]>('int syncfs(int fd)');

/** Closes a descriptor. */
export function close(fd: number): void {
  closeFd(fd);
}
