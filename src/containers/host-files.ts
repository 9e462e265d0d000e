import { readBoundedFile } from '../lib/bounded-file.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

/**
 * The text of a file of the host. `what` says in errors what it was to be.
 *
 * @throws EngineError failed-precondition if it cannot be read, is no regular file or too large
 */
export function readBounded(path: string, maxBytes: number, what: string): string {
  try {
    return readBoundedFile(path, maxBytes);
  } catch (error) {
    throw new EngineError('failed-precondition', `read the ${what} ${quote(path)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
