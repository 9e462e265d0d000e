/** `statx` and extended attributes on names below a directory descriptor. */
import { SyscallError } from './errors.ts';
import { AT_SYMLINK_NOFOLLOW, type NativePath } from './at.ts';
import { bind } from './libc.ts';

/** What a walk or a replacement needs to know of a file. */
export interface FileStatus {
  /** Type and permissions. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: bigint;
  readonly sizeBytes: number;
  /** On disk, in units of 512 bytes. */
  readonly blocks: number;
  readonly mtimeSeconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const STATX_BASIC_STATS = 0x7ff;
const AT_EMPTY_PATH = 0x1000;
const status = Buffer.alloc(256);
const statx = bind<[dirFd: number, name: NativePath, flags: number, mask: number, buffer: Buffer]>(
  'int statx(int dirfd, const char *name, int flags, uint32 mask, void *buffer)',
  { pathArgument: 1 },
);

/** The name itself, symlinks not followed; an empty name is the descriptor. `undefined` if there is none. */
export function fstatat(dirFd: number, name: NativePath): FileStatus | undefined {
  try {
    statx(dirFd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_BASIC_STATS, status);
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'ENOENT') return undefined;
    throw error;
  }
  return {
    nlink: status.readUInt32LE(16),
    uid: status.readUInt32LE(20),
    gid: status.readUInt32LE(24),
    mode: status.readUInt16LE(28),
    inode: status.readBigUInt64LE(32),
    sizeBytes: Number(status.readBigUInt64LE(40)),
    blocks: Number(status.readBigUInt64LE(48)),
    mtimeSeconds: Number(status.readBigInt64LE(112)),
    deviceMajor: status.readUInt32LE(128),
    deviceMinor: status.readUInt32LE(132),
  };
}

const nativeLsetxattr = bind<
  [path: NativePath, name: string, value: Uint8Array, size: number, flags: number]
>('int lsetxattr(const char *path, const char *name, const void *value, uint64 size, int flags)', {
  pathArgument: 0,
});
const nativeLgetxattr = bind<[path: NativePath, name: string, value: Uint8Array, size: number]>(
  'ssize_t lgetxattr(const char *path, const char *name, void *value, uint64 size)',
  { pathArgument: 0 },
);
const nativeLlistxattr = bind<[path: NativePath, list: Uint8Array, size: number]>(
  'ssize_t llistxattr(const char *path, void *list, uint64 size)',
  { pathArgument: 0 },
);

/** Sets an attribute of the name itself. Needs /proc, since Linux has no such *at call before 6.13. */
export function lsetxattr(dirFd: number, name: NativePath, attribute: string, value: Uint8Array): void {
  nativeLsetxattr(pathBelow(dirFd, name), attribute, value, value.length, 0);
}

/** `undefined` if the name has no such attribute. */
export function lgetxattr(dirFd: number, name: NativePath, attribute: string): Buffer | undefined {
  const value = Buffer.alloc(65_536);
  try {
    const length = nativeLgetxattr(pathBelow(dirFd, name), attribute, value, value.length);
    return Buffer.from(value.subarray(0, length));
  } catch (error) {
    if (error instanceof SyscallError && (error.code === 'ENODATA' || error.code === 'ENOTSUP'))
      return undefined;
    throw error;
  }
}

/** The names of all attributes of the name itself. */
export function llistxattr(dirFd: number, name: NativePath): string[] {
  const list = Buffer.alloc(65_536);
  const length = nativeLlistxattr(pathBelow(dirFd, name), list, list.length);
  return list.toString('latin1', 0, length).split('\0').slice(0, -1);
}

/** The directory is reached by its descriptor, and the last name is not followed. */
function pathBelow(dirFd: number, name: NativePath): NativePath {
  const directory = `/proc/self/fd/${dirFd}/`;
  return typeof name === 'string' ? directory + name : Buffer.concat([Buffer.from(directory), name]);
}
