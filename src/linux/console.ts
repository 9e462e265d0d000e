/** Terminals of processes that the OCI runtime starts: it makes the pty inside the container and sends its master over a Unix socket. */
import { rmSync } from 'node:fs';
import { Readable, Writable } from 'node:stream';
import { ReadStream } from 'node:tty';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { addressOf, bind, close } from './libc.ts';
import { type Poller, untilReady } from './poll.ts';
import {
  AF_UNIX,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socket,
  withSocketAddress,
} from './unix-socket.ts';

const bindAddress = bind<[fd: number, address: Uint8Array, size: number]>(
  'int bind(int fd, const void *addr, socklen_t len)',
);
const listen = bind<[fd: number, backlog: number]>('int listen(int fd, int backlog)');
const accept = bind<[fd: number, address: null, size: null, flags: number]>(
  'int accept4(int fd, void *addr, void *len, int flags)',
);
const recvmsg = bind<[fd: number, message: Uint8Array, flags: number]>(
  'ssize_t recvmsg(int fd, void *msg, int flags)',
);
const ioctl = bind<[fd: number, request: number, argument: Uint8Array]>(
  'int ioctl(int fd, unsigned long request, void *argument)',
);

const MSG_CMSG_CLOEXEC = 0x40000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
// The same on x86-64 and arm64 (asm-generic/ioctls.h).
const TIOCSWINSZ = 0x5414;
const TIOCGPTN = 0x80045430;
// `struct msghdr` of 64-bit Linux, then a `struct iovec`, a `struct cmsghdr` with descriptors, and the data (the terminal's name).
const vectorOffset = 56;
const controlOffset = vectorOffset + 16;
const controlHeaderBytes = 16;
const maxDescriptors = 8;
const dataOffset = controlOffset + controlHeaderBytes + maxDescriptors * 4;
const dataBytes = 4096;

/** A terminal's size in characters. */
export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** A socket that waits for the runtime to connect and send a terminal. */
export interface ConsoleSocket extends Disposable {
  /** Resolves with the pty master, close-on-exec, which the caller closes. Call it once. Rejects with the signal's reason. */
  receive(signal?: AbortSignal): Promise<number>;
}

/**
 * Listens at a path that must not exist, in a directory that only root may enter; give it to the runtime as its console socket after this
 * returns. Disposing takes the socket away. Throws SyscallError EADDRINUSE where something is at the path.
 */
export function receiveConsole(socketPath: string, poller: Poller): ConsoleSocket {
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  try {
    withSocketAddress(socketPath, (address) => bindAddress(fd, address, address.length));
    listen(fd, 1);
  } catch (error) {
    close(fd);
    throw error;
  }
  let open = true;
  return {
    receive: async (signal) => {
      await untilReady(poller, fd, { events: 'read', signal });
      const connection = accept(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
      try {
        await untilReady(poller, connection, { events: 'read', signal });
        return checkedMaster(receiveDescriptors(connection));
      } finally {
        close(connection);
      }
    },
    [Symbol.dispose]: () => {
      if (!open) return;
      open = false;
      close(fd);
      rmSync(socketPath, { force: true });
    },
  };
}

/** Throws SyscallError: ENOTTY for what is no terminal, EBADF once it is closed. */
export function setWindowSize(master: number, { columns, rows }: WindowSize): void {
  const size = Buffer.alloc(8);
  size.writeUInt16LE(clampSize(rows), 0);
  size.writeUInt16LE(clampSize(columns), 2);
  ioctl(master, TIOCSWINSZ, size);
}

/** A pty master as streams. */
export interface ConsoleStreams {
  /** What is typed. Ending it does nothing: a terminal has no end of input but the one that is typed. */
  readonly input: Writable;
  /** What is shown. Ends when the last process has closed the terminal. */
  readonly output: Readable;
  resize(size: WindowSize): void;
  /** Closes the master, upon which the kernel hangs up on the processes. May be called twice. */
  close(): void;
}

/** Takes over the master: it is closed with the streams. */
export function openConsole(master: number): ConsoleStreams {
  const terminal = new ReadStream(master);
  const output = new Readable({
    read: () => {
      terminal.resume();
    },
    destroy: (error, done) => {
      terminal.destroy();
      done(error);
    },
  });
  terminal.on('data', (chunk: Buffer) => {
    if (!output.push(chunk)) terminal.pause();
  });
  terminal.on('end', () => output.push(null));
  terminal.on('error', (error) => {
    // How the kernel tells a master that the last process has closed the other side.
    if (errnoOf(error) === 'EIO') output.push(null);
    else output.destroy(error);
  });
  terminal.on('close', () => output.push(null));
  const input = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (terminal.destroyed) done(new EngineError('cancelled', 'the terminal has been closed'));
      else terminal.write(chunk, (error) => done(error));
    },
  });
  return {
    input,
    output,
    resize: (size) => {
      if (!terminal.destroyed) setWindowSize(master, size);
    },
    close: () => void terminal.destroy(),
  };
}

function clampSize(characters: number): number {
  return Math.min(Math.max(Math.trunc(characters), 0), 0xffff);
}

function checkedMaster(descriptors: readonly number[]): number {
  const [master, ...others] = descriptors;
  // What came unasked would stay open for ever.
  for (const other of others) close(other);
  if (master === undefined) {
    throw new EngineError(
      'failed-precondition',
      'the runtime closed its console socket and sent no terminal',
    );
  }
  try {
    ioctl(master, TIOCGPTN, Buffer.alloc(4));
  } catch (cause) {
    close(master);
    const message = 'the runtime sent something over its console socket that is not a terminal';
    throw new EngineError('failed-precondition', message, { cause });
  }
  return master;
}

/** The descriptors that come with one message; none at the end of the connection. */
function receiveDescriptors(connection: number): readonly number[] {
  // One allocation, whose parts point at each other: it lives as long as the call that it is passed to.
  const block = Buffer.alloc(dataOffset + dataBytes);
  const start = addressOf(block);
  block.writeBigUInt64LE(start + BigInt(vectorOffset), 16);
  block.writeBigUInt64LE(1n, 24);
  block.writeBigUInt64LE(start + BigInt(controlOffset), 32);
  block.writeBigUInt64LE(BigInt(dataOffset - controlOffset), 40);
  block.writeBigUInt64LE(start + BigInt(dataOffset), vectorOffset);
  block.writeBigUInt64LE(BigInt(dataBytes), vectorOffset + 8);
  recvmsg(connection, block, MSG_CMSG_CLOEXEC);
  const received = block.subarray(controlOffset, controlOffset + Number(block.readBigUInt64LE(40)));
  if (received.length < controlHeaderBytes) return [];
  const isRights = received.readInt32LE(8) === SOL_SOCKET && received.readInt32LE(12) === SCM_RIGHTS;
  if (!isRights) return [];
  const end = Math.min(Number(received.readBigUInt64LE(0)), received.length);
  const descriptors: number[] = [];
  for (let offset = controlHeaderBytes; offset + 4 <= end; offset += 4) {
    descriptors.push(received.readInt32LE(offset));
  }
  return descriptors;
}
