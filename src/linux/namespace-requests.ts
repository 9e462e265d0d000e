/** What the namespace thread is asked, and how it answers. All of it crosses a thread boundary: plain data only. */
import { EngineError, type ErrorKind, messageOf } from '../lib/errors.ts';
import { SyscallError } from './errors.ts';
import type { NamespaceKind, Sysctl } from './sysctl.ts';

export type NamespaceRequest =
  | {
      readonly operation: 'pin';
      readonly kinds: readonly NamespaceKind[];
      readonly directory: string;
      readonly hostname: string | undefined;
      readonly sysctls: readonly Sysctl[];
      /** Whose namespaces are pinned; undefined for new ones. */
      readonly ofProcess: number | undefined;
    }
  | { readonly operation: 'unpin'; readonly paths: readonly string[] }
  | {
      readonly operation: 'open-socket';
      readonly netnsPath: string;
      readonly family: number;
      readonly type: number;
      readonly protocol: number;
    }
  | { readonly operation: 'write-sysctls'; readonly netnsPath: string; readonly sysctls: readonly Sysctl[] }
  | { readonly operation: 'open-file'; readonly netnsPath: string; readonly path: string };

export interface NamespaceWorkerData {
  /** 1 when nobody waits for the thread's work any more: what has not been pinned by then is not. */
  readonly isAbandoned: Int32Array<SharedArrayBuffer>;
}

/** The descriptor of what was opened. */
export type NamespaceResult = number | undefined;

export type NamespaceOutcome =
  | { readonly ok: true; readonly result: NamespaceResult }
  | { readonly ok: false; readonly error: PlainError };

export type NamespaceReply = NamespaceOutcome & {
  /** The thread could not go back to the host's namespaces and has ended. */
  readonly stranded: boolean;
};

/** An error without its class, which does not survive the way between threads. */
interface PlainError {
  readonly message: string;
  readonly kind?: ErrorKind;
  readonly syscall?: { readonly name: string; readonly errno: number; readonly path?: string };
}

export function toPlainError(error: unknown): PlainError {
  const message = messageOf(error);
  if (error instanceof EngineError) return { message, kind: error.kind };
  if (error instanceof SyscallError) {
    const { syscall, errno, path } = error;
    return { message, syscall: { name: syscall, errno, ...(path === undefined ? {} : { path }) } };
  }
  if (isFileError(error)) {
    // Node reports errno as a negative number.
    const { syscall, errno, path } = error;
    return { message, syscall: { name: syscall, errno: -errno, ...(path === undefined ? {} : { path }) } };
  }
  return { message };
}

export function fromPlainError(plain: PlainError): Error {
  if (plain.kind !== undefined) return new EngineError(plain.kind, plain.message);
  if (plain.syscall === undefined) return new Error(plain.message);
  const { name, errno, path } = plain.syscall;
  return new SyscallError(name, errno, path === undefined ? {} : { path });
}

function isFileError(
  error: unknown,
): error is Error & { readonly syscall: string; readonly errno: number; readonly path?: string } {
  return (
    error instanceof Error &&
    'syscall' in error &&
    typeof error.syscall === 'string' &&
    'errno' in error &&
    typeof error.errno === 'number'
  );
}
