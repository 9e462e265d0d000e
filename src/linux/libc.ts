/**
 * The C library by FFI. Each driver file binds the few functions that it calls, once, at module level; nothing is looked up
 * until the first call, so importing costs nothing. Variadic functions (`open`, `ioctl`, `fcntl`, `syscall`) are declared with the fixed
 * arguments of the one use: integers and pointers are passed alike on every 64-bit Linux.
 *
 * Never `.async` (but for netlink/in-pool.ts, which says why): it runs on libuv's shared pool, where the errno cannot be read and a
 * blocking call starves all file operations.
 */
import koffi from 'koffi';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { SyscallError } from './errors.ts';

/** What C functions take and give here: a 64-bit integer comes back as bigint only when a number cannot hold it. */
export type NativeArgument = number | bigint | string | Uint8Array | null | undefined;

interface BindOptions {
  /** The name in errors, where it is not that of the C function (`openat2` called by way of `syscall`). */
  readonly name?: string;
  /** Which argument is the path (or the name) that errors tell about. */
  readonly pathArgument?: number;
}

/**
 * A function of the C library that reports failure by -1 and errno, for instance `bind<[fd: number]>('int close(int fd)')`.
 * Calling it returns the result, or throws SyscallError (EngineError invalid-argument for a string with a zero byte). A call interrupted by a signal is not repeated: EINTR is thrown.
 */
export function bind<A extends readonly NativeArgument[]>(
  signature: string,
  options: BindOptions = {},
): (...args: A) => number {
  const name = options.name ?? nameIn(signature);
  const call = bindUnchecked<A, number>(signature);
  return (...args) => {
    const result = call(...args);
    if (result !== -1) return result;
    // Read before anything else can run: the next allocation may overwrite it.
    const errno = koffi.errno();
    const about = options.pathArgument === undefined ? undefined : args[options.pathArgument];
    throw new SyscallError(name, errno, typeof about === 'string' ? { path: about } : {});
  };
}

/** As bind, but with the bare result: for functions that return the errno (`posix_spawn`), nothing, or a -1 that is no error. */
export function bindUnchecked<A extends readonly NativeArgument[], R = number>(
  signature: string,
): (...args: A) => R {
  let native: ((...args: A) => R) | undefined;
  return (...args) => {
    native ??= library().func(signature) as (...args: A) => R;
    for (const argument of args) {
      // C would see only what comes before it: another path than the one that was checked.
      if (typeof argument === 'string' && argument.includes('\0')) {
        throw new EngineError('invalid-argument', `${quote(argument)} contains a zero byte`);
      }
    }
    return native(...args);
  };
}

/** The errno of the last FFI call of this thread. Meaningful only right after a call that failed. */
export function lastErrno(): number {
  return koffi.errno();
}

/** The address of a buffer's bytes, to be written into a C structure. The caller keeps the buffer alive during the call. */
export function addressOf(buffer: Uint8Array): bigint {
  return koffi.address(buffer);
}

/** Open flags that Node's `fs.constants` lacks, the same on x86-64 and arm64 (asm-generic/fcntl.h). */
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;

/** Closes a descriptor made by FFI. */
export const close = bind<[fd: number]>('int close(int fd)');

const typeNames = [
  ['ssize_t', 'int64'],
  ['off_t', 'int64'],
  ['mode_t', 'uint32'],
  ['dev_t', 'uint64'],
  ['pid_t', 'int32'],
  ['uid_t', 'uint32'],
  ['gid_t', 'uint32'],
  ['socklen_t', 'uint32'],
] as const;

let loaded: ReturnType<typeof koffi.load> | undefined;

function library(): ReturnType<typeof koffi.load> {
  if (loaded === undefined) {
    loaded = koffi.load(null);
    for (const [name, type] of typeNames) koffi.alias(name, type);
  }
  return loaded;
}

function nameIn(signature: string): string {
  return /(\w+)\s*\(/.exec(signature)?.[1] ?? signature;
}
