/**
 * NRI's multiplexer: two ttrpc connections, one for each direction of calls, over one socket. Each piece is led by the
 * number of its connection and its length, both 32 bits, big-endian.
 */
import { Assembler } from './ttrpc/assembler.ts';
import { frameHeaderBytes, maxDataBytes } from './ttrpc/frame.ts';

/** The engine calls the plugin on the first and is called on the second. */
export const pluginServiceId = 1;
export const runtimeServiceId = 2;

const headerBytes = 8;
const maxPayloadBytes = frameHeaderBytes + maxDataBytes;
/**
 * The plugins' side reads a whole piece into the buffer at hand, which is this long at the start of a message: a longer piece
 * does not fit and ends the connection. What follows is read into a buffer made for the message, in one piece whatever its length:
 * many small ones would overflow the queue of 256 on that side.
 */
const firstPieceBytes = 4096;

/** Puts a message of one connection into the pieces that go over the socket. */
export function muxPieces(connection: number, message: Buffer): Buffer[] {
  const parts = [message.subarray(0, firstPieceBytes), message.subarray(firstPieceBytes)];
  return parts.filter((part) => part.length > 0).flatMap((part) => [headerOf(connection, part), part]);
}

function headerOf(connection: number, part: Buffer): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32BE(connection, 0);
  header.writeUInt32BE(part.length, 4);
  return header;
}

/** Takes the socket's bytes apart again. */
export class Demux {
  readonly #pieces = new Assembler({
    what: 'multiplexed piece',
    headerBytes,
    lengthAt: 4,
    maxPayloadBytes,
  });
  readonly #connections: ReadonlyMap<number, (bytes: Buffer) => void>;

  constructor(connections: ReadonlyMap<number, (bytes: Buffer) => void>) {
    this.#connections = connections;
  }

  /** What is for no connection that exists is passed over, as the protocol has it. @throws EngineError invalid-argument */
  push(chunk: Buffer): void {
    for (const { header, payload } of this.#pieces.push(chunk))
      this.#connections.get(header.readUInt32BE(0))?.(payload);
  }
}
