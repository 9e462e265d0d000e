import { connect } from 'node:net';
import { errnoOf } from './errors.ts';

/**
 * Whether somebody answers on this socket file. One that a dead process left, and none at all, is not served.
 *
 * @throws the error of connect(2) when there is another reason why nobody answers
 */
export async function isSocketServed(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const socket = connect(path, () => resolve(true));
  socket.on('error', (error) =>
    ['ENOENT', 'ECONNREFUSED'].includes(errnoOf(error) ?? '') ? resolve(false) : reject(error),
  );
  return await promise.finally(() => socket.destroy());
}
