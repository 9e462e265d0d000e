import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { openInRoot, pathDirectory } from './at.ts';
import { SyscallError } from './errors.ts';

/** Nothing is there: no such name, a file for a directory, a symlink that leads in circles. */
const absent = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);

/**
 * Reads a file of a root file system that is not to be trusted, whole. Symlinks are followed inside the root only;
 * a FIFO does not block, a device is not opened for long, and nothing above `maxBytes` is read (CVE-2024-9676,
 * CVE-2026-47262).
 * @returns undefined if the file does not exist
 * @throws EngineError invalid-argument if it is no regular file or too long; SyscallError for the rest
 */
export function readFileInRoot(root: string, path: string, maxBytes: number): Buffer | undefined {
  const rootFd = openSync(root, pathDirectory);
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
    return readRegular(openInRoot(rootFd, path, flags), path, maxBytes);
  } catch (error) {
    if (error instanceof SyscallError && absent.has(error.code)) return undefined;
    // A socket, or a FIFO or device that nobody serves: there, but nothing to read.
    if (error instanceof SyscallError && (error.code === 'ENXIO' || error.code === 'ENODEV'))
      throw notRegular(path);
    throw error;
  } finally {
    closeSync(rootFd);
  }
}

function readRegular(fd: number, path: string, maxBytes: number): Buffer {
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw notRegular(path);
    if (status.size > maxBytes) throw tooLong(path, maxBytes);
    // One byte more than allowed: the file may grow while it is read, and files of /proc claim to be empty.
    const buffer = Buffer.alloc(Math.min(Math.max(status.size, 4096), maxBytes) + 1);
    return readWhole(fd, buffer, { path, maxBytes });
  } finally {
    closeSync(fd);
  }
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

function notRegular(path: string): EngineError {
  return new EngineError('invalid-argument', `${quote(path)} in the root file system is not a regular file`);
}

function tooLong(path: string, maxBytes: number): EngineError {
  return new EngineError(
    'invalid-argument',
    `${quote(path)} in the root file system is over ${maxBytes} bytes`,
  );
}
