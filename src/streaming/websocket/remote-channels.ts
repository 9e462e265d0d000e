/** Exec and attach over WebSocket: every message begins with the number of its channel. */
import { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import {
  parseWindowSize,
  statusJson,
  statusText,
  type RemoteChannels,
  type StreamOptions,
} from '../channels.ts';
import { readMessage, sendOnChannel } from './channel-messages.ts';
import { pauseReading, resumeReading } from './paused-socket.ts';

/** Best first. */
export const webSocketRemoteProtocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'base64.channel.k8s.io',
  'channel.k8s.io',
] as const;

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;
const closeGraceMs = 10_000;

export function openWebSocketChannels(socket: WebSocket, options: StreamOptions): RemoteChannels {
  const protocol = socket.protocol;
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
  const stdin = options.stdin ? inputStream(socket) : undefined;
  const output = (number: number): Writable =>
    new Writable({
      write: (data: Buffer, _encoding, done) => sendOnChannel(socket, { number, data }, done),
    });
  const listeners: Parameters<RemoteChannels['onResize']>[0][] = [];
  socket.on('message', (message: Buffer) => {
    const { number, data } = readMessage(socket, message);
    if (number === channel.stdin) takeInput(stdin, socket, data);
    else if (number === channel.close && protocol.startsWith('v5') && data[0] === channel.stdin)
      stdin?.push(null);
    else if (number === channel.resize) {
      const size = parseWindowSize(data.toString('utf8'));
      if (size !== undefined) for (const listener of listeners) listener(size);
    }
  });
  socket.on('error', () => socket.terminate());
  socket.on('close', () => {
    if (stdin?.readableEnded === false) stdin.push(null);
    onClosed();
  });
  const stdout = options.stdout ? output(channel.stdout) : undefined;
  const stderr = options.stderr && !options.tty ? output(channel.stderr) : undefined;
  for (const writable of [stdout, stderr]) writable?.on('error', () => undefined);
  // Clients wait for a first message to know that the other side is there.
  const first = stdout === undefined ? channel.error : channel.stdout;
  sendOnChannel(socket, { number: first, data: Buffer.alloc(0) });
  return {
    ...(stdin === undefined ? {} : { stdin }),
    ...(stdout === undefined ? {} : { stdout }),
    ...(stderr === undefined ? {} : { stderr }),
    onResize: (listener) => void listeners.push(listener),
    async report(outcome) {
      const text =
        protocol.startsWith('v4') || protocol.startsWith('v5') ? statusJson(outcome) : statusText(outcome);
      await new Promise<void>((resolve) =>
        sendOnChannel(socket, { number: channel.error, data: Buffer.from(text) }, () => resolve()),
      );
    },
    async close() {
      resumeReading(socket);
      socket.close(1000);
      const timer = setTimeout(() => socket.terminate(), closeGraceMs);
      await closed.finally(() => clearTimeout(timer));
    },
    closed,
  };
}

function inputStream(socket: WebSocket): Readable {
  const stdin = new Readable({ highWaterMark: 1024 * 1024, read: () => resumeReading(socket) });
  stdin.on('error', () => undefined);
  return stdin;
}

/** The connection is read no further while the process does not take its input. */
function takeInput(stdin: Readable | undefined, socket: WebSocket, data: Buffer): void {
  if (stdin === undefined || stdin.destroyed || data.length === 0) return;
  if (!stdin.push(data)) pauseReading(socket);
}
