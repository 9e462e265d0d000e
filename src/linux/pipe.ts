import { bind, O_CLOEXEC } from './libc.ts';

const pipe2 = bind<[fds: Uint8Array, flags: number]>('int pipe2(void *fds, int flags)');
const fcntl = bind<[fd: number, command: number, value: number]>('int fcntl(int fd, int command, int value)');

const F_SETPIPE_SZ = 1031;

/** A pipe that no child inherits by itself. The caller closes both ends (a net.Socket over one closes it when destroyed). */
export function createPipe(): { read: number; write: number } {
  const fds = Buffer.alloc(8);
  pipe2(fds, O_CLOEXEC);
  return { read: fds.readInt32LE(0), write: fds.readInt32LE(4) };
}

/** Makes a pipe hold as much as that, so that its two sides wait less for each other. Where the kernel has its limits it stays as it is. */
export function widenPipe(fd: number, bytes: number): void {
  try {
    fcntl(fd, F_SETPIPE_SZ, bytes);
  } catch {
    // fs.pipe-max-size, fs.pipe-user-pages-soft, or no memory: it works all the same.
  }
}
