import { errnoOf } from '../lib/errors.ts';
import { bind } from './libc.ts';

const poll = bind<[fds: Uint8Array, count: number, timeoutMs: number]>(
  'int poll(void *fds, unsigned long nfds, int timeout)',
);

// struct pollfd: int fd, short events, short revents.
const pollfdBytes = 8;
const POLLIN = 1;

/**
 * Blocks the calling thread until a descriptor can be read from, or is at its end: for threads that have nothing else to do. False when
 * the time is up first, or a signal came (poll(2)).
 */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  const request = Buffer.alloc(pollfdBytes);
  request.writeInt32LE(fd, 0);
  request.writeInt16LE(POLLIN, 4);
  try {
    return poll(request, 1, timeoutMs) > 0;
  } catch (error) {
    if (errnoOf(error) === 'EINTR') return false;
    throw error;
  }
}
