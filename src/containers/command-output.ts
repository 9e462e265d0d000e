/**
 * What commands say, kept until they have ended (CVE-2022-1708, CVE-2022-31030: a process that never stops writing must not fill the
 * daemon's memory, nor must many of them at once).
 */
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';

/** The bounds below are multiples of it. */
const pieceBytes = 64 * 1024;
const maxOutputBytes = 16 * 1024 * 1024;
/** Of each output there is always room for so much: more than any probe or hook says. */
const ownBytes = 1024 * 1024;

/** Room for what commands say beyond that, all that run together. */
export class OutputRoom {
  #freeBytes: number;

  constructor(bytes = 128 * 1024 * 1024) {
    this.#freeBytes = bytes;
  }

  claim(): OutputClaim {
    let taken = 0;
    let isOver = false;
    return {
      take: (bytes) => {
        if (isOver || bytes > this.#freeBytes) return false;
        this.#freeBytes -= bytes;
        taken += bytes;
        return true;
      },
      [Symbol.dispose]: () => {
        if (!isOver) this.#freeBytes += taken;
        isOver = true;
      },
    };
  }
}

/** One command's part of the room. Disposing gives all of it back. */
export interface OutputClaim extends Disposable {
  /** False if there is no room for so many bytes more. */
  readonly take: (bytes: number) => boolean;
}

/**
 * Reads a stream to its end, whatever way it ends. What comes beyond 16 MiB, or beyond 1 MiB while there is no room, is dropped, and
 * so is all behind it. In pieces of one size: a process that writes byte after byte would else leave an object for each.
 */
export async function collectOutput(stream: Readable, claim: OutputClaim): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  let piece = Buffer.alloc(0);
  let used = 0;
  let isFull = false;
  const hasRoom = (): boolean => {
    const bytes = pieces.length * pieceBytes;
    return bytes < ownBytes || (bytes < maxOutputBytes && claim.take(pieceBytes));
  };
  stream.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length && !isFull;) {
      if (used === piece.length) {
        isFull = !hasRoom();
        if (isFull) return;
        piece = Buffer.allocUnsafeSlow(pieceBytes);
        pieces.push(piece);
        used = 0;
      }
      const copied = chunk.copy(piece, used, at);
      at += copied;
      used += copied;
    }
  });
  await finished(stream).catch(() => undefined);
  return [...pieces.slice(0, -1), piece.subarray(0, used)];
}
