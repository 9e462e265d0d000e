import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

/**
 * The text of a regular file that somebody named: a FIFO or a device in its place blocks nobody and is not read.
 *
 * @throws Error of the system, or saying that it is no regular file or larger than `maxBytes`
 */
export function readBoundedFile(path: string, maxBytes: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new Error('it is not a regular file');
    if (status.size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
