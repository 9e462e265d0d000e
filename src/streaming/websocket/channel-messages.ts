/** Messages that begin with the number of their channel: a byte, or in the base64 variant of a protocol a character. */
import type { WebSocket } from 'ws';
import { EngineError } from '../../lib/errors.ts';

export interface ChannelMessage {
  /** 255, or a number that no channel has, for a message that says none. */
  readonly number: number;
  readonly data: Buffer;
}

const noChannel = 255;
const zero = '0'.charCodeAt(0);

/** By the name of the negotiated subprotocol. */
function isBase64Protocol({ protocol }: WebSocket): boolean {
  return protocol.includes('base64');
}

/** Sends one message. `done` is called when it has left for the kernel: whoever waits for it holds its source back. */
export function sendOnChannel(
  socket: WebSocket,
  { number, data }: ChannelMessage,
  done: (error?: Error | null) => void = () => undefined,
): void {
  if (socket.readyState !== socket.OPEN)
    done(new EngineError('cancelled', 'the client has closed the connection'));
  else if (isBase64Protocol(socket))
    socket.send(String.fromCharCode(zero + number) + data.toString('base64'), (error) => done(error));
  else socket.send(Buffer.concat([Buffer.from([number]), data]), (error) => done(error));
}

/** Takes a received message apart. */
export function readMessage(socket: WebSocket, message: Buffer): ChannelMessage {
  const number = message[0] ?? noChannel;
  if (!isBase64Protocol(socket)) return { number, data: message.subarray(1) };
  return { number: number - zero, data: Buffer.from(message.toString('latin1', 1), 'base64') };
}
