/**
 * The one exception to the rule of libc.ts, that no function of the C library is called in libuv's pool: the kernel answers most requests
 * about links only when it has its one lock for them (RTNL), which others may hold for seconds. A socket keeps the namespace in which it
 * was opened, whichever thread sends on it. Few calls are made at once (socket.ts), and the thread keeps its errno to itself.
 */
import koffi from 'koffi';
import { messageOf } from '../../lib/errors.ts';

type PoolCall = (fd: number, data: Buffer, flags: number) => Promise<number>;

/** send(2). The bytes that were sent, or -1. */
export const sendInPool = poolCall('int64_t send(int fd, const void *data, size_t length, int flags)');

/** recv(2). The bytes that came, more than `data` has where MSG_TRUNC asks for that, or -1. */
export const receiveInPool = poolCall('int64_t recv(int fd, void *data, size_t length, int flags)');

function poolCall(signature: string): PoolCall {
  let native: ReturnType<ReturnType<typeof koffi.load>['func']> | undefined;
  return async (fd, data, flags) => {
    native ??= koffi.load(null).func(signature);
    const done = Promise.withResolvers<number>();
    native.async(fd, data, data.length, flags, (error: unknown, result: number) => {
      if (error === null) done.resolve(result);
      else done.reject(error instanceof Error ? error : new Error(messageOf(error)));
    });
    return await done.promise;
  };
}
