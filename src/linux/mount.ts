/** Mounts by the kernel's calls. What is mounted is made detached where it can be, and attached when it is as it should be. */
import { closeSync, constants, openSync } from 'node:fs';
import { SyscallError } from './errors.ts';
import { bind, close, O_CLOEXEC, O_PATH } from './libc.ts';

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_IDMAP = 0x10_0000n;
const MS_REC = 0x4000;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

// The same numbers on every architecture.
const SYS_open_tree = 428;
const SYS_move_mount = 429;
const SYS_mount_setattr = 442;

const mountFlags = {
  rdonly: 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  remount: 0x20,
  noatime: 0x400,
  bind: 0x1000,
  recursive: MS_REC,
  relatime: 0x20_0000,
  strictatime: 0x100_0000,
} as const;

/** Flags of mount(2) by name. */
export type MountFlag = keyof typeof mountFlags;

const propagationFlags = {
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
} as const;

/** How mounts below a mount are shared with its peers; with `r` also of all mounts below. */
export type Propagation = keyof typeof propagationFlags | `r${keyof typeof propagationFlags}`;

const nativeMount = bind<
  [source: string, target: string, fstype: string | null, flags: number, data: string | null]
>('int mount(const char *source, const char *target, const char *fstype, uint64 flags, const char *data)', {
  pathArgument: 1,
});
const umount2 = bind<[target: string, flags: number]>('int umount2(const char *target, int flags)', {
  pathArgument: 0,
});
const openTree = bind<[n: number, dirFd: number, path: string, flags: number]>(
  'int64 syscall(int64 n, int64 dirfd, const char *path, int64 flags)',
  { name: 'open_tree', pathArgument: 2 },
);
const moveMount = bind<
  [n: number, from: number, fromPath: string, to: number, toPath: string, flags: number]
>('int64 syscall(int64 n, int64 from, const char *fromPath, int64 to, const char *toPath, int64 flags)', {
  name: 'move_mount',
  pathArgument: 4,
});
const mountSetattr = bind<[n: number, fd: number, path: string, flags: number, attr: Buffer, size: number]>(
  'int64 syscall(int64 n, int64 fd, const char *path, int64 flags, void *attr, int64 size)',
  { name: 'mount_setattr' },
);

/** What mount(2) takes. `data` is at most one page, less a byte. */
export interface MountRequest {
  readonly source: string;
  readonly target: string;
  readonly fstype: string;
  readonly flags?: readonly MountFlag[];
  readonly data?: string;
}

/** Mounts a file system. @throws SyscallError naming the target */
export function mount(request: MountRequest): void {
  const flags = (request.flags ?? []).reduce((sum, name) => sum | mountFlags[name], 0);
  // The kernel cuts longer data in silence.
  if (Buffer.byteLength(request.data ?? '') > 4095) {
    throw new SyscallError('mount', 7, { path: request.target, detail: 'mount options over one page' });
  }
  nativeMount(request.source, request.target, request.fstype, flags, request.data ?? null);
}

/** A tmpfs. `sizeBytes` bounds it (the kernel's default is half of memory). */
export function mountTmpfs(request: {
  readonly target: string;
  readonly sizeBytes?: number;
  readonly mode?: number;
  readonly flags?: readonly MountFlag[];
}): void {
  const options = [`mode=${(request.mode ?? 0o755).toString(8)}`];
  if (request.sizeBytes !== undefined) options.push(`size=${request.sizeBytes}`);
  mount({
    source: 'tmpfs',
    target: request.target,
    fstype: 'tmpfs',
    flags: request.flags ?? ['nosuid', 'nodev'],
    data: options.join(','),
  });
}

/** How a bind mount differs from its source. */
export interface BindOptions {
  /** Mounts below the source too. */
  readonly recursive?: boolean;
  /** With `recursive`: all of them. */
  readonly readOnly?: boolean;
  readonly propagation?: Propagation;
  /**
   * Path of a user namespace: ids of files are seen as if they had been written inside of it. With `recursive` also those
   * of the mounts below, unless one of them cannot.
   */
  readonly idsOf?: string;
}

/**
 * Makes a file or directory appear at `target`, read-only from its first moment if asked. Either end may be a
 * descriptor (O_PATH does), which a change of the path's symlinks cannot lead astray (CVE-2021-30465).
 */
export function bindMount(source: string | number, target: string | number, options: BindOptions = {}): void {
  const recursive = options.recursive === true ? AT_RECURSIVE : 0;
  const tree = openTree(
    SYS_open_tree,
    typeof source === 'number' ? source : AT_FDCWD,
    typeof source === 'number' ? '' : source,
    OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | recursive,
  );
  try {
    if (options.readOnly === true) setAttributes(tree, { set: MOUNT_ATTR_RDONLY, propagation: 0, recursive });
    if (options.idsOf !== undefined) mapIds(tree, options.idsOf, recursive);
    if (options.propagation !== undefined) {
      const { flag, isRecursive } = propagationOf(options.propagation);
      setAttributes(tree, { set: 0n, propagation: flag, recursive: isRecursive ? AT_RECURSIVE : 0 });
    }
    attachMount(tree, target);
  } finally {
    close(tree);
  }
}

/** All or nothing in one call: where the kernel refuses because of a mount below, the top one alone is mapped. */
function mapIds(tree: number, userNamespace: string, recursive: number): void {
  const fd = openSync(userNamespace, 'r');
  const change = { set: MOUNT_ATTR_IDMAP, propagation: 0, userNamespace: fd };
  try {
    if (recursive !== 0 && triesAttributes(tree, { ...change, recursive })) return;
    setAttributes(tree, { ...change, recursive: 0 });
  } finally {
    closeSync(fd);
  }
}

function triesAttributes(tree: number, change: AttributeChange): boolean {
  try {
    setAttributes(tree, change);
    return true;
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'EINVAL') return false;
    throw error;
  }
}

/** Whether this kernel has mount_setattr(2), since 5.12: what recursive read-only mounts and mapped ids are built on. */
export function canChangeMountTrees(): boolean {
  try {
    setAttributes(-1, { set: 0n, propagation: 0, recursive: AT_RECURSIVE });
    return true;
  } catch (error) {
    return error instanceof SyscallError && error.code !== 'ENOSYS' && error.code !== 'EPERM';
  }
}

/**
 * A descriptor (O_PATH) of a directory on a read-only mount that is attached nowhere: what is opened or executed below it cannot be written
 * by way of it, and nobody has the mount in reach to change that. It lasts as long as its users.
 */
export function openReadOnly(directory: string): number {
  const tree = openTree(SYS_open_tree, AT_FDCWD, directory, OPEN_TREE_CLONE | O_CLOEXEC);
  try {
    setAttributes(tree, { set: MOUNT_ATTR_RDONLY, propagation: 0, recursive: 0 });
    // The first descriptor keeps the mount in a namespace, in which it could be changed; the second one only keeps it.
    return openSync(`/proc/self/fd/${tree}`, O_PATH | O_CLOEXEC | constants.O_DIRECTORY);
  } finally {
    close(tree);
  }
}

/** Bind-mounts what a descriptor refers to. */
export function bindMountFd(fd: number, target: string | number, options: BindOptions = {}): void {
  bindMount(fd, target, options);
}

/** Attaches a detached mount (from fsmount or open_tree). The caller closes `mountFd`. */
export function attachMount(mountFd: number, target: string | number): void {
  if (typeof target === 'number') {
    moveMount(SYS_move_mount, mountFd, '', target, '', MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  } else {
    moveMount(SYS_move_mount, mountFd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  }
}

interface AttributeChange {
  readonly set: bigint;
  readonly propagation: number;
  readonly recursive: number;
  /** A descriptor. */
  readonly userNamespace?: number;
}

function setAttributes(tree: number, change: AttributeChange): void {
  const attr = Buffer.alloc(32);
  attr.writeBigUInt64LE(change.set, 0);
  attr.writeBigUInt64LE(BigInt(change.propagation), 16);
  attr.writeBigUInt64LE(BigInt(change.userNamespace ?? 0), 24);
  mountSetattr(SYS_mount_setattr, tree, '', AT_EMPTY_PATH | change.recursive, attr, attr.length);
}

/** Changes the propagation of an existing mount. */
export function setPropagation(target: string, propagation: Propagation): void {
  const { flag, isRecursive } = propagationOf(propagation);
  nativeMount('none', target, null, flag | (isRecursive ? MS_REC : 0), null);
}

function propagationOf(propagation: Propagation): { flag: number; isRecursive: boolean } {
  for (const [name, flag] of Object.entries(propagationFlags)) {
    if (propagation === name) return { flag, isRecursive: false };
    if (propagation === `r${name}`) return { flag, isRecursive: true };
  }
  throw new SyscallError('mount', 22, { detail: `no such propagation: ${propagation}` });
}

/**
 * Unmounts what is mounted last at `target`; a symlink there is not followed. `lazy` takes it out of the tree at
 * once, and ends it when its last user is gone.
 * @returns false if nothing is mounted there
 */
export function unmount(target: string, options: { readonly lazy?: boolean } = {}): boolean {
  try {
    umount2(target, UMOUNT_NOFOLLOW | (options.lazy === true ? MNT_DETACH : 0));
    return true;
  } catch (error) {
    if (error instanceof SyscallError && (error.code === 'EINVAL' || error.code === 'ENOENT')) return false;
    throw error;
  }
}
