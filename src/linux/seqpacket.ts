/** The client end of a SOCK_SEQPACKET Unix socket, which keeps the borders of messages: conmon's attach socket is one. */
import { setTimeout as delay } from 'node:timers/promises';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { errnoName, SyscallError } from './errors.ts';
import { bind, bindUnchecked, close, lastErrno } from './libc.ts';
import { type Poller, untilReady } from './poll.ts';
import {
  AF_UNIX,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  socket,
  withSocketAddress,
} from './unix-socket.ts';

const connect = bind<[fd: number, address: Uint8Array, size: number]>(
  'int connect(int fd, const void *addr, socklen_t len)',
);
const shutdown = bind<[fd: number, how: number]>('int shutdown(int fd, int how)');
const recv = bindUnchecked<[fd: number, data: Uint8Array, size: number, flags: number]>(
  'ssize_t recv(int fd, void *buf, size_t len, int flags)',
);
const send = bindUnchecked<[fd: number, data: Uint8Array, size: number, flags: number]>(
  'ssize_t send(int fd, const void *buf, size_t len, int flags)',
);

const MSG_NOSIGNAL = 0x4000;
const SHUT_WR = 1;
const maxPacketBytes = 64 * 1024;
// So that one busy connection does not hold up the others.
const packetsPerTurn = 32;
const connectTimeoutMs = 10_000;
const connectRetryMs = 5;

/**
 * Connects to the socket at `path`, of any length. Waits while the server's queue of connections is full.
 * Throws SyscallError (ENOENT, ECONNREFUSED), EngineError deadline-exceeded, or the signal's reason.
 */
export async function connectSeqpacket(
  path: string,
  poller: Poller,
  signal?: AbortSignal,
): Promise<SeqpacketConnection> {
  const fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    const deadline = performance.now() + connectTimeoutMs;
    while (!tryConnect(fd, path)) {
      signal?.throwIfAborted();
      if (performance.now() > deadline) {
        throw new EngineError('deadline-exceeded', `nobody accepts connections at ${path}`);
      }
      // Nothing reports that there is room again.
      await delay(connectRetryMs);
    }
    return new SeqpacketConnection(fd, poller);
  } catch (error) {
    close(fd);
    throw error;
  }
}

export class SeqpacketConnection implements Disposable {
  readonly #fd: number;
  readonly #poller: Poller;
  readonly #end = Promise.withResolvers<void>();
  readonly #closing = new AbortController();
  readonly #buffer = Buffer.allocUnsafe(maxPacketBytes);
  #onPacket: ((packet: Buffer) => void) | undefined;
  #reading: Disposable | undefined;
  #sent: Promise<void> = Promise.resolve();
  #ended = false;
  #open = true;

  constructor(fd: number, poller: Poller) {
    this.#fd = fd;
    this.#poller = poller;
  }

  /** Resolves when the other side has ended the connection (all packets have been handed over before), or this side closed it. Never rejects. */
  get closed(): Promise<void> {
    return this.#end.promise;
  }

  /** Starts reading. Nothing is read before; one listener at a time. A packet beyond 64 KiB is cut. */
  receive(onPacket: (packet: Buffer) => void): void {
    this.#onPacket = onPacket;
    this.resume();
  }

  /** Stops reading, so that the sender has to wait. At most one more packet comes. */
  pause(): void {
    this.#reading?.[Symbol.dispose]();
    this.#reading = undefined;
  }

  resume(): void {
    if (this.#reading !== undefined || this.#ended || this.#onPacket === undefined) return;
    this.#reading = this.#poller.watch(this.#fd, 'read', () => this.#read());
  }

  /**
   * Sends one packet after all earlier ones; resolves when the kernel has taken it. Throws SyscallError (EPIPE, ECONNRESET) when the other side is gone,
   * EngineError cancelled when this side has closed. The receiver cuts what is longer than its buffer: conmon's is 32 KiB.
   */
  async send(packet: Uint8Array): Promise<void> {
    const sending = this.#sent.then(async () => await this.#sendNow(packet));
    // The next one is tried whatever became of this one, which has its own answer.
    this.#sent = sending.catch(() => {});
    await sending;
  }

  /** Tells the other side that no more comes, after all that was sent. */
  async endSending(): Promise<void> {
    await this.#sent;
    if (!this.#open) return;
    try {
      shutdown(this.#fd, SHUT_WR);
    } catch (error) {
      if (errnoOf(error) !== 'ENOTCONN') throw error;
    }
  }

  /** Ends the connection at once. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#finishReading();
    this.#closing.abort();
    close(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #read(): void {
    for (let count = 0; count < packetsPerTurn && this.#reading !== undefined; count += 1) {
      const size = recv(this.#fd, this.#buffer, maxPacketBytes, 0);
      if (size > 0) {
        this.#onPacket?.(Buffer.from(this.#buffer.subarray(0, size)));
        continue;
      }
      const code = size === 0 ? 'end' : errnoName(lastErrno());
      if (code === 'EINTR') continue;
      // An end, or a failure that comes to the same: a reset, when the other side left without reading all.
      if (code !== 'EAGAIN') this.#finishReading();
      return;
    }
  }

  #finishReading(): void {
    this.pause();
    this.#ended = true;
    this.#end.resolve();
  }

  async #sendNow(packet: Uint8Array): Promise<void> {
    for (;;) {
      if (!this.#open) throw new EngineError('cancelled', 'the connection has been closed');
      if (send(this.#fd, packet, packet.length, MSG_NOSIGNAL) !== -1) return;
      const errno = lastErrno();
      if (errnoName(errno) === 'EINTR') continue;
      if (errnoName(errno) !== 'EAGAIN') throw new SyscallError('send', errno);
      await untilReady(this.#poller, this.#fd, { events: 'write', signal: this.#closing.signal });
    }
  }
}

/** False when the server's queue is full. */
function tryConnect(fd: number, path: string): boolean {
  try {
    withSocketAddress(path, (address) => connect(fd, address, address.length));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN' || errnoOf(error) === 'EINTR') return false;
    if (error instanceof SyscallError) throw new SyscallError('connect', error.errno, { path, cause: error });
    throw error;
  }
}
