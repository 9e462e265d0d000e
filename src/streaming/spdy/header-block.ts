/**
 * Header blocks of SPDY/3 (section 2.6.10): all blocks of one direction are one zlib stream, so that they must be
 * coded strictly in the order in which they are sent.
 */
import { createInflate, type Inflate } from 'node:zlib';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { headerDictionary } from './dictionary.ts';

/** What a client may make us hold for one block, after inflation. */
const maxBlockBytes = 64 * 1024;
const maxStoredBytes = 0xffff;
const zlibHeader = Buffer.from([0x78, 0x01]);
const emptyStoredBlock = Buffer.from([0x00, 0x00, 0x00, 0xff, 0xff]);

/** Names are lower case; a repeated name has several values. */
export type Headers = ReadonlyMap<string, readonly string[]>;

/**
 * Codes blocks without compressing them: deflate's stored form is as valid as any other, needs no state but for the
 * stream's first two bytes, and so cannot get out of order.
 */
export class HeaderEncoder {
  #isFirst = true;

  encode(headers: Headers): Buffer {
    const plain = encodePlain(headers);
    const parts: Buffer[] = this.#isFirst ? [zlibHeader] : [];
    this.#isFirst = false;
    for (let start = 0; start < plain.length; start += maxStoredBytes)
      parts.push(stored(plain.subarray(start, start + maxStoredBytes)));
    return Buffer.concat([...parts, emptyStoredBlock]);
  }
}

/** Inflates blocks. One call at a time, in the order of arrival: the caller awaits each before the next. */
export class HeaderDecoder implements Disposable {
  readonly #inflate: Inflate = createInflate({ dictionary: headerDictionary });
  #chunks: Buffer[] = [];
  #bytes = 0;
  #failure: Error | undefined;
  /** Settles the decode that is under way. */
  #done = (): void => undefined;

  constructor() {
    this.#inflate.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#inflate.on('error', (error) => {
      this.#failure = error;
      this.#done();
    });
  }

  /** @throws EngineError invalid-argument */
  async decode(block: Buffer): Promise<Headers> {
    this.#chunks = [];
    this.#bytes = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#done = resolve;
    this.#inflate.write(block, () => resolve());
    await promise;
    if (this.#failure !== undefined) {
      throw new EngineError(
        'invalid-argument',
        `a SPDY header block cannot be read: ${messageOf(this.#failure)}`,
        { cause: this.#failure },
      );
    }
    return decodePlain(Buffer.concat(this.#chunks));
  }

  [Symbol.dispose](): void {
    this.#inflate.destroy();
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > maxBlockBytes)
      this.#inflate.destroy(new Error(`it is larger than ${maxBlockBytes} bytes`));
    else this.#chunks.push(chunk);
  }
}

function stored(data: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt16LE(data.length, 1);
  head.writeUInt16LE(~data.length & 0xffff, 3);
  return Buffer.concat([head, data]);
}

function encodePlain(headers: Headers): Buffer {
  const parts = [length(headers.size)];
  for (const [name, values] of headers) {
    for (const text of [name.toLowerCase(), values.join('\0')]) {
      const bytes = Buffer.from(text, 'utf8');
      parts.push(length(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

function length(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function decodePlain(block: Buffer): Headers {
  let offset = 0;
  const word = (): number => {
    if (offset + 4 > block.length)
      throw new EngineError('invalid-argument', 'a SPDY header block is cut short');
    offset += 4;
    return block.readUInt32BE(offset - 4);
  };
  const text = (): string => {
    const bytes = word();
    if (offset + bytes > block.length)
      throw new EngineError('invalid-argument', 'a SPDY header block is cut short');
    offset += bytes;
    return block.toString('utf8', offset - bytes, offset);
  };
  const headers = new Map<string, readonly string[]>();
  for (let left = word(); left > 0; left -= 1) {
    const name = text().toLowerCase();
    headers.set(name, text().split('\0'));
  }
  return headers;
}
