import { EngineError } from '../../lib/errors.ts';

/** How the messages of a stream look: a header of fixed size in which the payload's length stands, big-endian. */
export interface MessageShape {
  /** In errors: "ttrpc message". */
  readonly what: string;
  readonly headerBytes: number;
  /** Where in the header the 32-bit length is. */
  readonly lengthAt: number;
  readonly maxPayloadBytes: number;
}

export interface Message {
  readonly header: Buffer;
  readonly payload: Buffer;
}

/** Cuts a stream of bytes into messages. What it keeps is never more than one whole message and one piece of the stream. */
export class Assembler {
  readonly #shape: MessageShape;
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** Of the message that is being read, once its header is there. */
  #length: number | undefined;

  constructor(shape: MessageShape) {
    this.#shape = shape;
  }

  /** The messages that `chunk` completes. @throws EngineError invalid-argument for one that is longer than it may be */
  push(chunk: Buffer): Message[] {
    const messages: Message[] = [];
    this.#pieces.push(chunk);
    this.#bytes += chunk.length;
    for (;;) {
      const message = this.#next();
      if (message === undefined) return messages;
      messages.push(message);
    }
  }

  #next(): Message | undefined {
    const { headerBytes } = this.#shape;
    if (this.#bytes < headerBytes) return undefined;
    this.#length ??= this.#readLength();
    const total = headerBytes + this.#length;
    if (this.#bytes < total) return undefined;
    const all = this.#joined();
    this.#pieces = all.length === total ? [] : [all.subarray(total)];
    this.#bytes = all.length - total;
    this.#length = undefined;
    return { header: all.subarray(0, headerBytes), payload: all.subarray(headerBytes, total) };
  }

  #readLength(): number {
    const { what, lengthAt, maxPayloadBytes } = this.#shape;
    const length = this.#joined().readUInt32BE(lengthAt);
    if (length > maxPayloadBytes)
      throw new EngineError(
        'invalid-argument',
        `${what} of ${length} bytes: the limit is ${maxPayloadBytes}`,
      );
    return length;
  }

  #joined(): Buffer {
    const [first, ...more] = this.#pieces;
    if (first !== undefined && more.length === 0) return first;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }
}
