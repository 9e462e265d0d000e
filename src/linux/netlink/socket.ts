/**
 * Netlink sockets: requests, their answers, their acknowledgements. The kernel answers before `send` returns: mostly within
 * some tens of microseconds, but seconds later while others keep it from looking at its links. So this thread sends nothing itself,
 * and as the way to another thread costs more than most requests, those that are asked at once are sent at once.
 * A receive time-out guards against a kernel that gives no answer.
 */
import { bind, close } from '../libc.ts';
import type { Poller } from '../poll.ts';
import { errnoOf } from '../../lib/errors.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { SyscallError, errnoNumber } from '../errors.ts';
import { receiveInPool, sendInPool } from './in-pool.ts';
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
  /** A multiple of four bytes, as attributes are. */
  readonly payload: Buffer;
  readonly operation: string;
  readonly about?: string;
}

/** A request that waits for the kernel. */
interface Asked {
  readonly call: NetlinkCall;
  readonly bytes: Buffer;
  readonly sequence: number;
  readonly answer: PromiseWithResolvers<NetlinkMessage[]>;
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
const NETLINK_DROP_MEMBERSHIP = 2;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const receiveTimeoutSeconds = 5;
const receiveBytes = 256 * 1024;
const dumpAttempts = 20;
// Together these leave one of the four threads of libuv's pool, which file operations need too. More exchanges would only wait in
// the kernel for the same lock.
const exchangesAtOnce = 1;
const deletionsAtOnce = 2;
// What the kernel answers to so many has room in a socket.
const requestsAtOnce = 16;

const socket = bind<[domain: number, type: number, protocol: number]>(
  'int socket(int domain, int type, int protocol)',
);
const recv = bind<[fd: number, data: Uint8Array, length: number, flags: number]>(
  'ssize_t recv(int fd, void *data, size_t length, int flags)',
);
const setsockopt = bind<[fd: number, level: number, name: number, value: Uint8Array, length: number]>(
  'int setsockopt(int fd, int level, int name, const void *value, socklen_t length)',
);

const exchangeTurns = new Semaphore(exchangesAtOnce);
const deletionTurns = new Semaphore(deletionsAtOnce);

// One for all sockets: a receive copies what it read before anything else can run. What a thread of the pool writes is another one.
const receiveBuffer = Buffer.allocUnsafeSlow(receiveBytes);
const dumpBuffer = Buffer.allocUnsafeSlow(receiveBytes);

/** A connection to one netlink family in one network namespace. It joins a group for one request's end only. */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #sequence = 0;
  /** Not yet sent, in the order in which they were asked. */
  readonly #asked: Asked[] = [];
  #isOpen = true;
  /** Calls on the descriptor that threads of the pool make now. */
  #inPool = 0;

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

  /**
   * Changes something. What is executed and queried at once (`Promise.all`) is done in that order, in one message to the kernel;
   * when one fails, those behind it are done all the same.
   * @throws SyscallError with the kernel's own sentence when it gave one
   */
  async execute(call: NetlinkCall): Promise<void> {
    await this.#request(call);
  }

  /** Asks for one object; in order, as `execute`. @throws SyscallError */
  async query(call: NetlinkCall): Promise<NetlinkMessage | undefined> {
    return (await this.#request(call))[0];
  }

  /** Asks for all objects. A dump that changes interrupted is made again. @throws SyscallError */
  async dump(call: NetlinkCall): Promise<NetlinkMessage[]> {
    for (let attempt = 1; ; attempt += 1) {
      const { messages, wasInterrupted } = await this.#dumpOnce(call);
      if (!wasInterrupted) return messages;
      if (attempt === dumpAttempts) {
        throw failure(call, errnoNumber('EBUSY'), `the list changed during each of ${dumpAttempts} dumps`);
      }
    }
  }

  /**
   * As `execute`, for what the kernel acknowledges tens of milliseconds after it is done (the memory of a link is freed
   * when nobody can read it any more): resolves when the kernel tells the group of it. At most two at a time in this
   * process, and nothing else on this socket meanwhile.
   */
  async executeUntilNotice(call: NetlinkCall, notice: Notice): Promise<void> {
    const { bytes, sequence } = this.#encode(call, messageFlag.ack);
    const turn = await deletionTurns.acquire();
    const sent = this.#sendAsMember(call, bytes, notice.group).finally(() => turn[Symbol.dispose]());
    // It may still be under way when nobody listens any more.
    sent.catch(() => undefined);
    try {
      for (;;) {
        await this.#untilReadable(notice.poller, sent);
        for (const message of await this.#receiveNotices(call, sent)) {
          if (notice.isIt(message) || (message.sequence === sequence && isEnd(call, message))) return;
        }
      }
    } finally {
      this.#leave(notice.group);
    }
  }

  /** Calls that are under way end first: until then their descriptor must not become another file's. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#inPool === 0) close(this.#fd);
  }

  async #request(call: NetlinkCall): Promise<NetlinkMessage[]> {
    const answer = Promise.withResolvers<NetlinkMessage[]>();
    this.#asked.push({ call, ...this.#encode(call, messageFlag.ack), answer });
    if (this.#asked.length === 1) void this.#sendAsked();
    return await answer.promise;
  }

  /** What has been asked by the time that the turn comes. Once an answer is lost, the rest is not waited for: the event loop stands still. */
  async #sendAsked(): Promise<void> {
    using _ = await exchangeTurns.acquire();
    const asked = this.#asked.splice(0, requestsAtOnce);
    if (this.#asked.length > 0) void this.#sendAsked();
    const sent = this.#send(asked.map(({ bytes }) => bytes));
    let isLost = false;
    for (const { call, sequence, answer } of asked) {
      try {
        await this.#mustBeSent(call, sent);
        if (isLost) throw failure(call, errnoNumber('ETIMEDOUT'), 'an answer before it was lost');
        answer.resolve(this.#receiveAnswer(call, sequence));
      } catch (error) {
        isLost ||= errnoOf(error) === 'ETIMEDOUT';
        answer.reject(error);
      }
    }
  }

  #receiveAnswer(call: NetlinkCall, sequence: number): NetlinkMessage[] {
    const messages: NetlinkMessage[] = [];
    for (;;) {
      for (const message of this.#receive(call)) {
        // The rest of an answer that an earlier request did not wait for.
        if (message.sequence !== sequence) continue;
        if (isEnd(call, message)) return messages;
        messages.push(message);
      }
    }
  }

  async #dumpOnce(call: NetlinkCall): Promise<{ messages: NetlinkMessage[]; wasInterrupted: boolean }> {
    using _ = await exchangeTurns.acquire();
    const { bytes, sequence } = this.#encode(call, messageFlag.dump);
    await this.#mustBeSent(call, this.#send([bytes]));
    const messages: NetlinkMessage[] = [];
    let wasInterrupted = false;
    for (;;) {
      for (const message of await this.#receiveDumped(call)) {
        if (message.sequence !== sequence) continue;
        wasInterrupted ||= (message.flags & messageFlag.dumpInterrupted) !== 0;
        if (isEnd(call, message)) return { messages, wasInterrupted };
        messages.push(message);
      }
    }
  }

  async #untilReadable(poller: Poller, sent: Promise<void>): Promise<void> {
    const readable = Promise.withResolvers<void>();
    using _ = poller.watch(this.#fd, 'read', () => readable.resolve());
    await Promise.race([sent, readable.promise]);
  }

  async #sendAsMember(call: NetlinkCall, bytes: Buffer, group: number): Promise<void> {
    this.#mustBeOpen(call);
    this.#setMembership(NETLINK_ADD_MEMBERSHIP, group);
    await this.#mustBeSent(call, this.#send([bytes]));
  }

  /** What came for the group goes too: a full socket takes no later answer. */
  #leave(group: number): void {
    if (!this.#isOpen) return;
    this.#setMembership(NETLINK_DROP_MEMBERSHIP, group);
    for (;;) {
      try {
        recv(this.#fd, receiveBuffer, receiveBuffer.length, MSG_DONTWAIT);
      } catch (error) {
        // Said once for all that was lost.
        if (errnoOf(error) !== 'ENOBUFS') return;
      }
    }
  }

  #setMembership(option: number, group: number): void {
    const membership = Buffer.alloc(4);
    membership.writeUInt32LE(group);
    setsockopt(this.#fd, SOL_NETLINK, option, membership, membership.length);
  }

  /** @throws SyscallError ENOBUFS when the kernel had more to tell than the socket holds, once the request is through */
  async #receiveNotices(call: NetlinkCall, sent: Promise<void>): Promise<NetlinkMessage[]> {
    try {
      return this.#receive(call);
    } catch (error) {
      // What was lost may have been the end: whoever looks now must find what the request has done.
      await sent;
      throw error;
    }
  }

  /** False when nothing was sent. */
  async #send(requests: readonly Buffer[]): Promise<boolean> {
    if (!this.#isOpen) return false;
    const bytes = Buffer.concat(requests);
    return (await this.#call(async () => await sendInPool(this.#fd, bytes, 0))) === bytes.length;
  }

  async #mustBeSent(call: NetlinkCall, sent: Promise<boolean>): Promise<void> {
    const isSent = await sent;
    this.#mustBeOpen(call);
    if (!isSent) throw failure(call, errnoNumber('EIO'), 'the request could not be sent');
  }

  /** The kernel goes on with a dump, and may wait, while what it has so far is received. */
  async #receiveDumped(call: NetlinkCall): Promise<NetlinkMessage[]> {
    const length = await this.#call(async () => await receiveInPool(this.#fd, dumpBuffer, MSG_TRUNC));
    if (length < 0) {
      throw failure(
        call,
        errnoNumber('EIO'),
        `the answer was lost, or none came in ${receiveTimeoutSeconds} s`,
      );
    }
    return decodeReceived(call, dumpBuffer, length);
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    this.#inPool += 1;
    try {
      return await work();
    } finally {
      this.#inPool -= 1;
      if (!this.#isOpen && this.#inPool === 0) close(this.#fd);
    }
  }

  #encode(call: NetlinkCall, flags: number): { bytes: Buffer; sequence: number } {
    this.#sequence = (this.#sequence + 1) >>> 0;
    const request = {
      type: call.type,
      flags: messageFlag.request | flags | (call.flags ?? 0),
      payload: call.payload,
    };
    return { bytes: encodeRequest(request, this.#sequence), sequence: this.#sequence };
  }

  #receive(call: NetlinkCall): NetlinkMessage[] {
    this.#mustBeOpen(call);
    const length = retryInterrupted(() => receiveOrFail(this.#fd, receiveBuffer, call));
    return decodeReceived(call, receiveBuffer, length);
  }

  #mustBeOpen(call: NetlinkCall): void {
    if (!this.#isOpen) throw failure(call, errnoNumber('EBADF'), 'the netlink socket was closed');
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

/** Whether an answer ends with this message. @throws SyscallError when the request has failed */
function isEnd(call: NetlinkCall, message: NetlinkMessage): boolean {
  if (message.type !== controlType.error && message.type !== controlType.done) return false;
  const verdict = decodeAcknowledgement(message);
  if (verdict.errno !== 0) throw failure(call, verdict.errno, verdict.message);
  return true;
}

/** `length` is what the kernel had, which may be more than the buffer holds. */
function decodeReceived(call: NetlinkCall, buffer: Buffer, length: number): NetlinkMessage[] {
  if (length > buffer.length) throw failure(call, errnoNumber('EMSGSIZE'), `an answer of ${length} bytes`);
  return decodeMessages(Buffer.from(buffer.subarray(0, length)));
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
