/**
 * PortForward: each connection has a data stream and a stream for what went wrong. Over SPDY the client opens both, with one
 * request id; over WebSocket they are two channels a port.
 */
import type { Duplex, Writable } from 'node:stream';
import { messageOf } from '../lib/errors.ts';
import type { SpdySession, SpdyStream } from './spdy/session.ts';

export const portForwardProtocol = 'portforward.k8s.io';
const pairDeadlineMs = 30_000;
/** What a client sent before it left is given to the pod in this time, or dropped. */
export const partingMs = 10_000;

/** Opens a connection to a port inside the pod. */
export type ConnectPort = (port: number) => Promise<Duplex>;

interface HalfPair {
  readonly error?: SpdyStream;
  readonly data?: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/** One connection that a client wants. */
export interface ForwardedConnection {
  /** As the client said it: a number from 1 to 65535, or anything else. */
  readonly port: string;
  readonly data: Duplex;
  readonly errors: Writable;
}

/** Serves connections over SPDY until the client closes the session. */
export async function servePortForward(session: SpdySession, connect: ConnectPort): Promise<void> {
  const pending = new Map<string, HalfPair>();
  using _ = session.streams.subscribe((stream) => {
    const type = stream.headers.get('streamtype')?.[0];
    if (type !== 'error' && type !== 'data') {
      stream.destroy();
      return;
    }
    // Clients from before request ids count two streams a connection: the data stream follows its error stream.
    const id = stream.headers.get('requestid')?.[0] ?? String(type === 'error' ? stream.id : stream.id - 2);
    const known = pending.get(id);
    const pair: HalfPair = {
      ...known,
      [type]: stream,
      timer: known?.timer ?? setTimeout(() => giveUp(pending, id), pairDeadlineMs),
    };
    if (pair.error === undefined || pair.data === undefined) {
      pending.set(id, pair);
      return;
    }
    pending.delete(id);
    clearTimeout(pair.timer);
    pair.error.resume();
    const port = pair.data.headers.get('port')?.[0] ?? '';
    void forwardConnection({ port, data: pair.data, errors: pair.error }, connect);
  });
  await session.closed;
  for (const id of pending.keys()) giveUp(pending, id);
}

function giveUp(pending: Map<string, HalfPair>, id: string): void {
  const pair = pending.get(id);
  pending.delete(id);
  clearTimeout(pair?.timer);
  pair?.error?.destroy();
  pair?.data?.destroy();
}

/** Connects and moves bytes until both sides have ended, or one is gone. Never throws: the client is told by `errors`. */
export async function forwardConnection(
  { port: text, data, errors }: ForwardedConnection,
  connect: ConnectPort,
): Promise<void> {
  const port = parsePort(text);
  let connection: Duplex;
  try {
    if (port === undefined) throw new Error(`${text} is not a port`);
    connection = await connect(port);
  } catch (error) {
    errors.end(`error forwarding port ${text}: ${messageOf(error)}`);
    data.destroy();
    return;
  }
  // The client left while the pod was being connected to: nobody would ever close it.
  if (data.destroyed) {
    connection.destroy();
    return;
  }
  // kubectl gives the whole session up at the first word on an error stream: a reset is told by the data stream alone.
  await join(data, connection).catch(() => undefined);
  errors.end();
}

/**
 * Both directions with half-close. A connection that the pod resets becomes a reset of the stream, not a broken
 * session: the client's other connections go on (containerd issue 9875).
 */
async function join(stream: Duplex, connection: Duplex): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let open = 2;
  const onEnd = (): void => {
    open -= 1;
    if (open === 0) resolve();
  };
  connection.once('error', (error) => {
    stream.destroy();
    reject(error);
  });
  stream.once('error', () => connection.destroy());
  stream.once('close', () => {
    if (!stream.readableEnded) connection.destroy();
    else if (!stream.writableFinished) abandon(connection);
  });
  connection.once('close', resolve);
  stream.once('end', onEnd);
  connection.once('end', onEnd);
  stream.pipe(connection);
  connection.pipe(stream);
  await promise;
}

/** The client has left after its last byte: the pod still gets that, and nobody hears what it says. */
function abandon(connection: Duplex): void {
  if (connection.writableFinished) {
    connection.destroy();
    return;
  }
  const timer = setTimeout(() => connection.destroy(), partingMs);
  connection.once('close', () => clearTimeout(timer));
  connection.once('finish', () => connection.destroy());
}

/** Undefined for what is no port of TCP. */
export function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}
