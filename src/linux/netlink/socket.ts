/**
 * Netlink sockets: one request, its answers, its acknowledgement. The kernel answers before `send` returns, so that
 * everything here is synchronous and takes some tens of microseconds; a receive time-out guards against a kernel that does not.
 */
import koffi from 'koffi';
import { bind, close } from '../libc.ts';
import type { Poller } from '../poll.ts';
import { errnoOf, messageOf } from '../../lib/errors.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { SyscallError, errnoNumber } from '../errors.ts';
import {
  controlType,
  decodeAcknowledgement,
  decodeMessages,
  encodeRequest,
  messageFlag,
  type NetlinkMessage,
} from './message.ts';

/** A request with the words for its error: the operation's name in the kernel, and the name or address it is about. */
export interface NetlinkCall {
  readonly type: number;
  /** Besides NLM_F_REQUEST and NLM_F_ACK, which are always set. */
  readonly flags?: number;
  readonly payload: Buffer;
  readonly operation: string;
  readonly about?: string;
}

/** How the kernel tells everybody what a request has done. */
export interface Notice {
  readonly poller: Poller;
  /** RTNLGRP_*. */
  readonly group: number;
  readonly isIt: (message: NetlinkMessage) => boolean;
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const receiveTimeoutSeconds = 5;
const receiveBytes = 256 * 1024;
const dumpAttempts = 20;
// Of the four threads of libuv's pool, which file operations need too.
const slowAtOnce = 2;

const socket = bind<[domain: number, type: number, protocol: number]>(
  'int socket(int domain, int type, int protocol)',
);
const send = bind<[fd: number, data: Uint8Array, length: number, flags: number]>(
  'ssize_t send(int fd, const void *data, size_t length, int flags)',
);
const recv = bind<[fd: number, data: Uint8Array, length: number, flags: number]>(
  'ssize_t recv(int fd, void *data, size_t length, int flags)',
);
const setsockopt = bind<[fd: number, level: number, name: number, value: Uint8Array, length: number]>(
  'int setsockopt(int fd, int level, int name, const void *value, socklen_t length)',
);

// One for all sockets: a receive copies what it read before anything else can run.
let receiveBuffer: Buffer | undefined;

/** A connection to one netlink family in one network namespace. It joins a group for one request's end only. */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #sequence = 0;
  #isOpen = true;

  /** Takes ownership of `fd`. */
  constructor(fd: number) {
    this.#fd = fd;
    try {
      const timeout = Buffer.alloc(16);
      timeout.writeBigInt64LE(BigInt(receiveTimeoutSeconds));
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.length);
      const on = Buffer.from([1, 0, 0, 0]);
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
        setsockopt(fd, SOL_NETLINK, option, on, on.length);
      }
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  /** Opens a socket of a family (NETLINK_*) in the calling thread's network namespace. */
  static openProtocol(protocol: number): NetlinkSocket {
    return new NetlinkSocket(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  }

  /** Changes something. @throws SyscallError with the kernel's own sentence when it gave one */
  execute(call: NetlinkCall): void {
    this.#exchange(call, messageFlag.ack);
  }

  /**
   * As `execute`, for what the kernel acknowledges tens of milliseconds after it is done (the memory of a link is freed
   * when nobody can read it any more): resolves when the kernel tells the group of it. At most two at a time in this
   * process, because each blocks a thread of libuv's pool. The socket is good for nothing else from then on.
   */
  async executeSlowly(call: NetlinkCall, notice: Notice): Promise<void> {
    const turn = await slowTurns.acquire();
    let sent: Promise<void>;
    try {
      const group = Buffer.alloc(4);
      group.writeUInt32LE(notice.group);
      setsockopt(this.#fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, group.length);
      sent = this.#sendInPool(call, this.#encode(call, messageFlag.ack)).finally(() =>
        turn[Symbol.dispose](),
      );
    } catch (error) {
      turn[Symbol.dispose]();
      throw error;
    }
    // It may still be under way when nobody listens any more.
    sent.catch(() => undefined);
    for (;;) {
      await this.#untilReadable(notice.poller, sent);
      for (const message of this.#receive(call)) {
        if (notice.isIt(message) || this.#isDone(call, message)) return;
      }
    }
  }

  async #untilReadable(poller: Poller, sent: Promise<void>): Promise<void> {
    const readable = Promise.withResolvers<void>();
    using _ = poller.watch(this.#fd, 'read', () => readable.resolve());
    await Promise.race([sent, readable.promise]);
  }

  async #sendInPool(call: NetlinkCall, bytes: Buffer): Promise<void> {
    const sent = await sendInPool(this.#fd, bytes);
    // The pool's thread keeps its errno to itself.
    if (sent !== bytes.length) throw failure(call, errnoNumber('EIO'), 'the request could not be sent');
  }

  /** Asks for one object. @throws SyscallError */
  query(call: NetlinkCall): NetlinkMessage | undefined {
    return this.#exchange(call, messageFlag.ack).messages[0];
  }

  /** Asks for all objects. A dump that changes interrupted is made again. @throws SyscallError */
  dump(call: NetlinkCall): NetlinkMessage[] {
    for (let attempt = 1; ; attempt += 1) {
      const answer = this.#exchange(call, messageFlag.dump);
      if (!answer.wasInterrupted) return answer.messages;
      if (attempt === dumpAttempts) {
        throw failure(call, errnoNumber('EBUSY'), `the list changed during each of ${dumpAttempts} dumps`);
      }
    }
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    close(this.#fd);
  }

  #exchange(call: NetlinkCall, flags: number): { messages: NetlinkMessage[]; wasInterrupted: boolean } {
    const bytes = this.#encode(call, flags);
    retryInterrupted(() => send(this.#fd, bytes, bytes.length, 0));
    return this.#collect(call);
  }

  #encode(call: NetlinkCall, flags: number): Buffer {
    if (!this.#isOpen) throw failure(call, errnoNumber('EBADF'), 'the netlink socket was closed');
    this.#sequence = (this.#sequence + 1) >>> 0;
    const request = {
      type: call.type,
      flags: messageFlag.request | flags | (call.flags ?? 0),
      payload: call.payload,
    };
    return encodeRequest(request, this.#sequence);
  }

  #collect(call: NetlinkCall): { messages: NetlinkMessage[]; wasInterrupted: boolean } {
    const messages: NetlinkMessage[] = [];
    let wasInterrupted = false;
    for (;;) {
      for (const message of this.#receive(call)) {
        // The rest of an answer that an earlier request did not wait for.
        if (message.sequence !== this.#sequence) continue;
        wasInterrupted ||= (message.flags & messageFlag.dumpInterrupted) !== 0;
        if (this.#isDone(call, message)) return { messages, wasInterrupted };
        messages.push(message);
      }
    }
  }

  /** Whether this is the end of the answer to the latest request. @throws SyscallError when that has failed */
  #isDone(call: NetlinkCall, { type, sequence, ...message }: NetlinkMessage): boolean {
    if (sequence !== this.#sequence) return false;
    if (type !== controlType.error && type !== controlType.done) return false;
    const verdict = decodeAcknowledgement({ type, sequence, ...message });
    if (verdict.errno !== 0) throw failure(call, verdict.errno, verdict.message);
    return true;
  }

  #receive(call: NetlinkCall): NetlinkMessage[] {
    receiveBuffer ??= Buffer.allocUnsafeSlow(receiveBytes);
    const buffer = receiveBuffer;
    const length = retryInterrupted(() => receiveOrFail(this.#fd, buffer, call));
    if (length > buffer.length) {
      throw failure(call, errnoNumber('EMSGSIZE'), `an answer of ${length} bytes`);
    }
    return decodeMessages(Buffer.from(buffer.subarray(0, length)));
  }
}

/** A NETLINK_ROUTE socket: links, addresses, routes and neighbours of one network namespace. */
export class RouteSocket extends NetlinkSocket {
  /** In the network namespace of the calling thread: the host's, on the main thread. */
  static open(): RouteSocket {
    return new RouteSocket(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  }

  /** Takes ownership of a descriptor that was opened inside another network namespace. */
  static fromFd(fd: number): RouteSocket {
    return new RouteSocket(fd);
  }
}

function receiveOrFail(fd: number, buffer: Buffer, call: NetlinkCall): number {
  try {
    return recv(fd, buffer, buffer.length, MSG_TRUNC);
  } catch (error) {
    if (errnoOf(error) !== 'EAGAIN') throw error;
    throw failure(call, errnoNumber('ETIMEDOUT'), `no answer in ${receiveTimeoutSeconds} s`);
  }
}

function failure(call: NetlinkCall, errno: number, detail: string | undefined): SyscallError {
  return new SyscallError(call.operation, errno, {
    ...(call.about === undefined ? {} : { path: call.about }),
    ...(detail === undefined ? {} : { detail }),
  });
}

const slowTurns = new Semaphore(slowAtOnce);
let sendFunction: ReturnType<ReturnType<typeof koffi.load>['func']> | undefined;

/** The one exception to the rule of libc.ts: bounded in time, few at a time, and the socket keeps its own namespace. */
async function sendInPool(fd: number, bytes: Buffer): Promise<number> {
  sendFunction ??= koffi.load(null).func('int64_t send(int fd, const void *data, size_t length, int flags)');
  const sent = Promise.withResolvers<number>();
  sendFunction.async(fd, bytes, bytes.length, 0, (error: unknown, result: number) => {
    if (error === null) sent.resolve(result);
    else sent.reject(error instanceof Error ? error : new Error(messageOf(error)));
  });
  return await sent.promise;
}

/** A signal that Node handles may interrupt the call; the message was then not sent, or not taken. */
function retryInterrupted<T>(work: () => T): T {
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (errnoOf(error) !== 'EINTR') throw error;
    }
  }
}
