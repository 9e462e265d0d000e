import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

/**
 * The text of a file of the host. `what` says in errors what it was to be.
 *
 * @throws EngineError failed-precondition if it cannot be read, is no regular file or too large
 */
export function readBounded(path: string, maxBytes: number, what: string): string {
  try {
    // A FIFO in its place must not block us.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const status = fstatSync(fd);
      if (!status.isFile()) throw new Error('it is not a regular file');
      if (status.size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
      return readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new EngineError('failed-precondition', `read the ${what} ${quote(path)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
