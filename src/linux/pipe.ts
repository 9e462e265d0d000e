import { bind, O_CLOEXEC } from './libc.ts';

const pipe2 = bind<[fds: Uint8Array, flags: number]>('int pipe2(void *fds, int flags)');

/** A pipe that no child inherits by itself. The caller closes both ends (a net.Socket over one closes it when destroyed). */
export function createPipe(): { read: number; write: number } {
  const fds = Buffer.alloc(8);
  pipe2(fds, O_CLOEXEC);
  return { read: fds.readInt32LE(0), write: fds.readInt32LE(4) };
}
