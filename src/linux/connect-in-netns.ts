/** A TCP connection to what listens on a pod's loopback, from inside the pod's network namespace. */
import { Socket } from 'node:net';
import { Deadline } from '../lib/deadline.ts';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { SyscallError } from './errors.ts';
import { bind, close } from './libc.ts';
import type { NamespaceThread } from './namespace-thread.ts';
import { type Poller, untilReady } from './poll.ts';
import { SOCK_NONBLOCK, SOCK_STREAM } from './unix-socket.ts';

const connect = bind<[fd: number, address: Uint8Array, size: number]>(
  'int connect(int fd, const void *addr, socklen_t len)',
);
const getsockopt = bind<[fd: number, level: number, option: number, value: Uint8Array, size: Uint8Array]>(
  'int getsockopt(int fd, int level, int option, void *value, void *size)',
);

const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_ERROR = 4;

type LoopbackHost = '127.0.0.1' | '::1';

export interface ConnectRequest {
  readonly thread: NamespaceThread;
  readonly poller: Poller;
  readonly netnsPath: string;
  /** Without it both are tried, IPv4 first: a server may listen on one of them only. */
  readonly host?: LoopbackHost;
  readonly port: number;
  readonly timeoutMs: number;
}

/**
 * Connects and hands the connection over as a Node socket (half-open allowed), which the caller destroys. Throws EngineError: unavailable naming the port
 * when nothing listens there, deadline-exceeded, and what the signal was aborted with.
 */
export async function connectInNetns(request: ConnectRequest, signal?: AbortSignal): Promise<Socket> {
  const { host, port, timeoutMs } = request;
  using deadline = new Deadline(timeoutMs);
  const either = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
  const hosts: readonly LoopbackHost[] = host === undefined ? ['127.0.0.1', '::1'] : [host];
  let failure: unknown;
  for (const next of hosts) {
    try {
      return await connectTo(request, next, either);
    } catch (error) {
      signal?.throwIfAborted();
      // What IPv4 says tells more than that there is no IPv6.
      failure ??= error;
      if (deadline.signal.aborted) break;
    }
  }
  const where = `port ${port} of the pod (${hosts.join(', ')})`;
  if (deadline.signal.aborted) {
    const message = `cannot connect to ${where}: no answer within ${timeoutMs} ms`;
    throw new EngineError('deadline-exceeded', message, { cause: failure });
  }
  const kind = failure instanceof EngineError ? failure.kind : 'unavailable';
  throw new EngineError(kind, `cannot connect to ${where}: ${messageOf(failure)}`, { cause: failure });
}

async function connectTo(request: ConnectRequest, host: LoopbackHost, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const { thread, poller, netnsPath, port } = request;
  const family = host === '::1' ? AF_INET6 : AF_INET;
  const fd = await thread.openSocket(netnsPath, { family, type: SOCK_STREAM | SOCK_NONBLOCK, protocol: 0 });
  try {
    if (!startConnecting(fd, loopbackAddress(host, port))) {
      await untilReady(poller, fd, { events: 'write', signal });
      const error = pendingError(fd);
      if (error !== 0) throw new SyscallError('connect', error);
    }
    return new Socket({ fd, allowHalfOpen: true, readable: true, writable: true });
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** True when connected at once. */
function startConnecting(fd: number, address: Buffer): boolean {
  try {
    connect(fd, address, address.length);
    return true;
  } catch (error) {
    // An interrupted connect goes on by itself.
    if (errnoOf(error) === 'EINPROGRESS' || errnoOf(error) === 'EINTR') return false;
    throw error;
  }
}

function pendingError(fd: number): number {
  const value = Buffer.alloc(4);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(value.length);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, value, size);
  return value.readInt32LE(0);
}

/** `struct sockaddr_in` or `sockaddr_in6`. */
function loopbackAddress(host: LoopbackHost, port: number): Buffer {
  const address = Buffer.alloc(host === '::1' ? 28 : 16);
  address.writeUInt16LE(host === '::1' ? AF_INET6 : AF_INET, 0);
  address.writeUInt16BE(port, 2);
  if (host === '::1') address.writeUInt8(1, 23);
  else address.set([127, 0, 0, 1], 4);
  return address;
}
