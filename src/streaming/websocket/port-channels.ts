/**
 * PortForward over WebSocket without SPDY inside, version 4 of Kubernetes' protocol: port n of the URL has channel 2n for data
 * and 2n+1 for an error, and the server's first message on each is the port, two bytes, the low one first. A port is one
 * connection. The protocol has no end of one direction: a client ends what it sends by closing the WebSocket, and the
 * server closes it when every port's connection has ended.
 */
import { Duplex, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { forwardConnection, parsePort, partingMs, type ConnectPort } from '../port-forward.ts';
import { readMessage, sendOnChannel } from './channel-messages.ts';
import { pauseReading, resumeReading } from './paused-socket.ts';

export const webSocketPortProtocols = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'] as const;

/** The numbers of their channels are still ASCII characters in the base64 variant. */
const maxPorts = 32;
const closeGraceMs = 10_000;
/** What a port's connection may owe its client before the client is read no further. */
const inputBytes = 256 * 1024;

/**
 * The ports of a request: those of the CRI's request, else of the URL's `port` parameters, each one or more, separated
 * by commas.
 *
 * @throws EngineError invalid-argument when there is none, one is none, or there are too many
 */
export function portsOf(asked: readonly number[], parameters: URLSearchParams): readonly number[] {
  const texts = parameters.getAll('port').flatMap((text) => text.split(','));
  const ports = asked.length > 0 ? asked : texts.map(requirePort);
  if (ports.length === 0)
    throw new EngineError('invalid-argument', 'port-forward over WebSocket: no port is named');
  if (ports.length > maxPorts)
    throw new EngineError('invalid-argument', `port-forward over WebSocket: more than ${maxPorts} ports`);
  return ports;
}

/** Serves all ports until each has ended, or the client is gone. Never throws. */
export async function servePortChannels(
  socket: WebSocket,
  ports: readonly number[],
  connect: ConnectPort,
): Promise<void> {
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
  socket.once('close', onClosed);
  const inputs = new Inputs(socket);
  const connections = ports.map(async (port, index) => {
    const data = dataChannel(socket, inputs, 2 * index);
    const errors = errorChannel(socket, 2 * index + 1);
    for (const number of [2 * index, 2 * index + 1])
      sendOnChannel(socket, { number, data: Buffer.from([port & 0xff, port >> 8]) });
    await forwardConnection({ port: String(port), data, errors }, connect);
  });
  socket.on('message', (message: Buffer) => inputs.take(message));
  await Promise.all(connections);
  resumeReading(socket);
  socket.close(1000);
  const timer = setTimeout(() => socket.terminate(), closeGraceMs);
  await closed.finally(() => clearTimeout(timer));
}

/** What comes from the client, by channel: the socket is read only while no channel has more than it may. */
class Inputs {
  readonly #socket: WebSocket;
  readonly #channels = new Map<number, Duplex>();
  readonly #full = new Set<number>();

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  add(number: number, channel: Duplex): void {
    this.#channels.set(number, channel);
  }

  /** Nothing comes any more; what has come is still read. Idempotent. */
  end(number: number): void {
    this.#channels.get(number)?.push(null);
    this.#channels.delete(number);
    this.onRead(number);
  }

  /** A message for no port, or for one that has ended, is dropped. */
  take(message: Buffer): void {
    const { number, data } = readMessage(this.#socket, message);
    const channel = this.#channels.get(number);
    if (channel === undefined || channel.destroyed || data.length === 0) return;
    if (channel.push(data)) return;
    this.#full.add(number);
    pauseReading(this.#socket);
  }

  onRead(number: number): void {
    if (this.#full.delete(number) && this.#full.size === 0) resumeReading(this.#socket);
  }
}

function dataChannel(socket: WebSocket, inputs: Inputs, number: number): Duplex {
  const channel = new Duplex({
    readableHighWaterMark: inputBytes,
    read: () => inputs.onRead(number),
    write: (data: Buffer, _encoding, done) => sendOnChannel(socket, { number, data }, done),
    // The pod has said its last: there is no other way to tell it that this side has, too.
    final: (done) => {
      inputs.end(number);
      done();
    },
    destroy: (error, done) => {
      inputs.end(number);
      done(error);
    },
  });
  channel.on('error', () => undefined);
  inputs.add(number, channel);
  socket.once('close', () => {
    // The pod gets what was sent before, and then the end of it.
    const timer = setTimeout(() => channel.destroy(), partingMs);
    channel.once('close', () => clearTimeout(timer));
    channel.once('end', () => channel.destroy());
    inputs.end(number);
    if (channel.readableEnded) channel.destroy();
  });
  return channel;
}

function errorChannel(socket: WebSocket, number: number): Writable {
  const errors = new Writable({
    write: (data: Buffer, _encoding, done) => sendOnChannel(socket, { number, data }, done),
  });
  errors.on('error', () => undefined);
  return errors;
}

function requirePort(text: string): number {
  const port = parsePort(text);
  if (port !== undefined) return port;
  throw new EngineError('invalid-argument', `port-forward over WebSocket: ${quote(text)} is not a port`);
}
