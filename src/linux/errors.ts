import { constants } from 'node:os';

/**
 * A system call that failed. `code` is what callers branch on (`ENOENT`); `path` is the path or name that the call was about.
 * Faces never see it bare: the engine wraps it in an EngineError that says what was attempted.
 */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  /** `ENOENT`, or `E<number>` for a number that has no name here. */
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;

  /** `detail` replaces the general text of the errno where the kernel gave a better one (netlink's extended ack). */
  constructor(
    syscall: string,
    errno: number,
    options: { path?: string; detail?: string; cause?: unknown } = {},
  ) {
    const code = errnoName(errno);
    const about = options.path === undefined ? '' : ` ${JSON.stringify(options.path)}`;
    super(`${syscall}${about}: ${options.detail ?? descriptions[code] ?? 'failed'} (${code})`, options);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (options.path !== undefined) this.path = options.path;
  }
}

/** The name of an errno, `E<number>` for an unknown one. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

/** The number of an errno name, 0 for an unknown one. */
export function errnoNumber(code: string): number {
  return numbers.get(code) ?? 0;
}

// Node's table lacks what only file systems, namespaces and sockets of Linux answer (asm-generic/errno.h).
const linuxOnly: Readonly<Record<string, number>> = {
  ENOTBLK: 15,
  EUCLEAN: 117,
  EUSERS: 87,
  ESHUTDOWN: 108,
  EHOSTDOWN: 112,
  EREMOTEIO: 121,
  ENOMEDIUM: 123,
  EMEDIUMTYPE: 124,
  ENOKEY: 126,
  EKEYREJECTED: 129,
  ENOTUNIQ: 76,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
};

const numbers = new Map<string, number>([...Object.entries(constants.errno), ...Object.entries(linuxOnly)]);
const names = new Map([...numbers].map(([name, number]) => [number, name]));
// Two names share one number each; these are the ones that Node's own errors carry.
names.set(constants.errno.EAGAIN, 'EAGAIN');
names.set(constants.errno.EOPNOTSUPP, 'ENOTSUP');

const descriptions: Readonly<Record<string, string>> = {
  EPERM: 'operation not permitted',
  ENOENT: 'no such file or directory',
  ESRCH: 'no such process',
  EINTR: 'interrupted',
  EIO: 'input or output error',
  ENXIO: 'no such device or address',
  E2BIG: 'argument list too long',
  ENOEXEC: 'not an executable format',
  EBADF: 'bad file descriptor',
  ECHILD: 'no such child process',
  EAGAIN: 'try again',
  ENOMEM: 'out of memory',
  EACCES: 'permission denied',
  EFAULT: 'bad address',
  EBUSY: 'device or resource busy',
  EEXIST: 'exists already',
  EXDEV: 'crosses a mount or leaves the root',
  ENODEV: 'no such device',
  ENOTDIR: 'not a directory',
  EISDIR: 'is a directory',
  EINVAL: 'invalid argument',
  ENFILE: 'too many open files on this machine',
  EMFILE: 'too many open files in this process',
  ENOTTY: 'not a terminal, or no such request of this device',
  ETXTBSY: 'program file is being written',
  EFBIG: 'file too large',
  ENOSPC: 'no space left, or a kernel limit reached',
  ESPIPE: 'not seekable',
  EROFS: 'read-only file system',
  EMLINK: 'too many links',
  EPIPE: 'nobody reads at the other end',
  ERANGE: 'out of range',
  EDEADLK: 'would deadlock',
  ENAMETOOLONG: 'name too long',
  ENOSYS: 'this kernel lacks the call',
  ENOTEMPTY: 'directory not empty',
  ELOOP: 'too many symbolic links, or one where none is allowed',
  ENODATA: 'no such attribute',
  EOVERFLOW: 'value too large',
  EUSERS: 'too many users',
  ENOTSOCK: 'not a socket',
  EMSGSIZE: 'message too long',
  EPROTONOSUPPORT: 'protocol not supported',
  ENOTSUP: 'not supported',
  EAFNOSUPPORT: 'address family not supported',
  EADDRINUSE: 'address in use',
  EADDRNOTAVAIL: 'address not available',
  ENETDOWN: 'network is down',
  ENETUNREACH: 'network unreachable',
  ECONNABORTED: 'connection aborted',
  ECONNRESET: 'connection reset',
  ENOBUFS: 'no buffer space',
  EISCONN: 'connected already',
  ENOTCONN: 'not connected',
  ETIMEDOUT: 'timed out',
  ECONNREFUSED: 'connection refused',
  EHOSTUNREACH: 'host unreachable',
  EALREADY: 'in progress already',
  EINPROGRESS: 'in progress',
  ESTALE: 'stale file handle',
  EUCLEAN: 'file system is damaged',
  EDQUOT: 'disk quota used up',
  ECANCELED: 'cancelled',
};
