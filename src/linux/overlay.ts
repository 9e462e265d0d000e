/**
 * Overlay mounts with many layers.
 *
 * The new mount API takes lower directories one by one (`lowerdir+`, since Linux 6.8), each in a string of at most
 * 255 bytes. mount(2) takes all in one page, where 120 paths of a snapshot store do not fit. Both ways a directory
 * can also be named by its descriptor, `/proc/self/fd/N`: short, the same from every thread, and free of the
 * characters that overlay's options give a meaning (`:`, `,`, `\`).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { pathDirectory } from './at.ts';
import { SyscallError } from './errors.ts';
import { bind, close } from './libc.ts';
import { attachMount, mount } from './mount.ts';

const SYS_fsopen = 430;
const SYS_fsconfig = 431;
const SYS_fsmount = 432;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOUNT_ATTR_RDONLY = 1;
const maxStringBytes = 255;
const maxPageBytes = 4095;

const fsopen = bind<[n: number, fstype: string, flags: number]>(
  'int64 syscall(int64 n, const char *fstype, int64 flags)',
  { name: 'fsopen', pathArgument: 1 },
);
const fsconfig = bind<
  [n: number, fd: number, command: number, key: string | null, value: string | null, aux: number]
>('int64 syscall(int64 n, int64 fd, int64 command, const char *key, const char *value, int64 aux)', {
  name: 'fsconfig',
  pathArgument: 4,
});
const fsmount = bind<[n: number, fd: number, flags: number, attributes: number]>(
  'int64 syscall(int64 n, int64 fd, int64 flags, int64 attributes)',
  { name: 'fsmount' },
);

/** How lower directories reach the kernel. */
export type OverlayMethod = 'append' | 'page';

/** An overlay to mount. Without an upper directory it is read-only. */
export interface OverlayRequest {
  /** The top one first. */
  readonly lowerDirs: readonly string[];
  readonly upperDir?: string;
  /** Empty, on the file system of `upperDir`. Given with it. */
  readonly workDir?: string;
  readonly target: string;
  /** Options of overlayfs without a value or as `key=value`, for instance `index=off`. */
  readonly options?: readonly string[];
  /** Default: `append` where the kernel has it, else `page`. */
  readonly method?: OverlayMethod;
}

/** @throws SyscallError, with overlayfs' own words where the kernel gave them */
export function mountOverlay(request: OverlayRequest): void {
  const fds: number[] = [];
  const open = (path: string): string => {
    const fd = openSync(path, pathDirectory);
    fds.push(fd);
    return `/proc/self/fd/${fd}`;
  };
  try {
    if (request.method !== 'page' && mountByAppend(request, open)) return;
    if (request.method === 'append') {
      throw new SyscallError('fsconfig', 22, {
        path: request.target,
        detail: 'this kernel has no lowerdir+',
      });
    }
    mountByPage(request, open);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

/** True if this kernel takes lower directories one by one. */
export function hasLowerDirAppend(): boolean {
  const context = openContext();
  if (context === undefined) return false;
  try {
    // Before 6.5 overlayfs had the old parser behind the new calls: any key is taken, and refused only at the end.
    return !takesString(context, 'gantry-unknown', '/') && takesString(context, 'lowerdir+', '/');
  } finally {
    close(context);
  }
}

type OpenDirectory = (path: string) => string;

/** False if this kernel lacks the way. */
function mountByAppend(request: OverlayRequest, open: OpenDirectory): boolean {
  const context = hasLowerDirAppend() ? openContext() : undefined;
  if (context === undefined) return false;
  const name = (path: string): string =>
    path.includes('\\') || Buffer.byteLength(path) > maxStringBytes ? open(path) : path;
  try {
    for (const lower of request.lowerDirs) setString(context, 'lowerdir+', name(lower));
    if (request.upperDir !== undefined && request.workDir !== undefined) {
      setString(context, 'upperdir', name(request.upperDir));
      setString(context, 'workdir', name(request.workDir));
    }
    for (const option of request.options ?? []) setOption(context, option);
    configure(context, FSCONFIG_CMD_CREATE, null, null);
    attachContext(context, request);
    return true;
  } finally {
    close(context);
  }
}

function attachContext(context: number, request: OverlayRequest): void {
  const attributes = request.upperDir === undefined ? MOUNT_ATTR_RDONLY : 0;
  const mountFd = fsmount(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
  try {
    attachMount(mountFd, request.target);
  } finally {
    close(mountFd);
  }
}

function openContext(): number | undefined {
  try {
    return fsopen(SYS_fsopen, 'overlay', FSOPEN_CLOEXEC);
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'ENOSYS') return undefined;
    throw error;
  }
}

/** False if the kernel does not know the key, which it says as it says of a bad value: EINVAL. */
function takesString(context: number, key: string, value: string): boolean {
  try {
    fsconfig(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0);
    return true;
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'EINVAL') return false;
    throw error;
  }
}

function setOption(context: number, option: string): void {
  const equals = option.indexOf('=');
  if (equals === -1) configure(context, FSCONFIG_SET_FLAG, option, null);
  else setString(context, option.slice(0, equals), option.slice(equals + 1));
}

function setString(context: number, key: string, value: string): void {
  configure(context, FSCONFIG_SET_STRING, key, value);
}

function configure(context: number, command: number, key: string | null, value: string | null): void {
  try {
    fsconfig(SYS_fsconfig, context, command, key, value, 0);
  } catch (error) {
    throw explain(context, error);
  }
}

/** A mount context keeps what the file system had to say about a failure. */
function explain(context: number, error: unknown): unknown {
  if (!(error instanceof SyscallError)) return error;
  const messages: string[] = [];
  const buffer = Buffer.alloc(4096);
  try {
    for (;;) messages.push(buffer.toString('utf8', 0, readSync(context, buffer)).trim());
  } catch {
    // ENODATA: no more messages.
  }
  if (messages.length === 0) return error;
  const path = error.path === undefined ? {} : { path: error.path };
  return new SyscallError(error.syscall, error.errno, { ...path, detail: messages.join('; '), cause: error });
}

function mountByPage(request: OverlayRequest, open: OpenDirectory): void {
  const plain = pageOptions(request, (path) => path);
  const isPlain = [...request.lowerDirs, request.upperDir ?? '', request.workDir ?? ''].every(
    (path) => !/[\\:,]/.test(path),
  );
  const data = isPlain && Buffer.byteLength(plain) <= maxPageBytes ? plain : pageOptions(request, open);
  mount({
    source: 'overlay',
    target: request.target,
    fstype: 'overlay',
    flags: request.upperDir === undefined ? ['rdonly'] : [],
    data,
  });
}

function pageOptions(request: OverlayRequest, name: (path: string) => string): string {
  const options = [`lowerdir=${request.lowerDirs.map(name).join(':')}`];
  if (request.upperDir !== undefined && request.workDir !== undefined) {
    options.push(`upperdir=${name(request.upperDir)}`, `workdir=${name(request.workDir)}`);
  }
  return [...options, ...(request.options ?? [])].join(',');
}
