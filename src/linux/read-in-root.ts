import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { openInRoot, pathDirectory } from './at.ts';
import { SyscallError } from './errors.ts';
import { O_CLOEXEC, O_PATH } from './libc.ts';

/** Nothing is there: no such name, a file for a directory, a symlink that leads in circles. */
const absent = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);

/**
 * Reads a file of a root file system that is not to be trusted, whole. Symlinks are followed inside the root only;
 * a FIFO or device is not opened, and nothing above `maxBytes` is read (CVE-2024-9676,
 * CVE-2026-47262).
 * @returns undefined if the file does not exist
 * @throws EngineError invalid-argument if it is no regular file or too long; SyscallError for the rest
 */
export function readFileInRoot(root: string, path: string, maxBytes: number): Buffer | undefined {
  using fds = new DisposableStack();
  const hold = (fd: number): number => {
    fds.defer(() => closeSync(fd));
    return fd;
  };
  const found = openFile(hold(openSync(root, pathDirectory)), path);
  if (found === undefined) return undefined;
  // Looked at before it is opened: opening a device may already do something, and a FIFO may block.
  if (!fstatSync(hold(found)).isFile()) {
    throw new EngineError('invalid-argument', `${quote(path)} in the root file system is not a regular file`);
  }
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | O_CLOEXEC;
  return readRegular(hold(openSync(`/proc/self/fd/${found}`, flags)), path, maxBytes);
}

function openFile(rootFd: number, path: string): number | undefined {
  try {
    return openInRoot(rootFd, path, O_PATH);
  } catch (error) {
    if (error instanceof SyscallError && absent.has(error.code)) return undefined;
    throw error;
  }
}

function readRegular(fd: number, path: string, maxBytes: number): Buffer {
  const { size } = fstatSync(fd);
  if (size > maxBytes) throw tooLong(path, maxBytes);
  // One byte more than allowed: the file may grow while it is read, and files of /proc claim to be empty.
  const buffer = Buffer.alloc(Math.min(Math.max(size, 4096), maxBytes) + 1);
  return readWhole(fd, buffer, { path, maxBytes });
}

function readWhole(
  fd: number,
  first: Buffer,
  limit: { readonly path: string; readonly maxBytes: number },
): Buffer {
  let buffer = first;
  let length = 0;
  for (;;) {
    const count = readSync(fd, buffer, length, buffer.length - length, null);
    length += count;
    if (count === 0) return buffer.subarray(0, length);
    if (length > limit.maxBytes) throw tooLong(limit.path, limit.maxBytes);
    if (length === buffer.length) {
      const grown = Buffer.alloc(Math.min(buffer.length * 2, limit.maxBytes + 1));
      buffer.copy(grown);
      buffer = grown;
    }
  }
}

function tooLong(path: string, maxBytes: number): EngineError {
  return new EngineError(
    'invalid-argument',
    `${quote(path)} in the root file system is over ${maxBytes} bytes`,
  );
}
