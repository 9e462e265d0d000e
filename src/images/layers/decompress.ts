/** From a layer's compressed bytes to its tar. The work runs in libuv's pool, beside the thread that applies. */
import { once } from 'node:events';
import type { Transform, Writable } from 'node:stream';
import { createGunzip, createZstdDecompress, zstdDecompressSync } from 'node:zlib';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { ZstdFrameSplitter } from './zstd-frames.ts';

/** How a layer is stored. */
export type Compression = 'gzip' | 'zstd' | 'none';

const outputChunkBytes = 1024 ** 2;
/** Room for some chunks ahead, so that decompression goes on while the last ones are applied. */
const streamOptions = { chunkSize: outputChunkBytes, readableHighWaterMark: 4 * outputChunkBytes };
const magicBytes = 4;
/** Frames up to this length are decompressed in one call. */
const smallFrameBytes = 256 * 1024;
const smallFrameOutputBytes = 32 * 1024 ** 2;

/** @throws EngineError unimplemented for media types that name no compression known here */
export function compressionOf(mediaType: string): Compression {
  if (/[.+]tar[.+]gzip$/.test(mediaType)) return 'gzip';
  if (/[.+]tar[.+]zstd$/.test(mediaType)) return 'zstd';
  if (/[.+]tar$/.test(mediaType)) return 'none';
  throw new EngineError('unimplemented', `layers of media type ${quote(mediaType)} cannot be unpacked`);
}

/**
 * The tar inside `source`. What the bytes begin with must agree with the media type.
 * @throws EngineError data-loss for bytes that are damaged, cut off or of another kind than said
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  mediaType: string,
): AsyncGenerator<Buffer> {
  const expected = compressionOf(mediaType);
  const checked = checkMagic(source, expected);
  switch (expected) {
    case 'none':
      for await (const chunk of checked) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      return;
    case 'gzip':
      yield* throughStream(checked, createGunzip(streamOptions));
      return;
    case 'zstd':
      yield* unzstd(checked);
  }
}

async function* checkMagic(
  source: AsyncIterable<Uint8Array>,
  expected: Compression,
): AsyncGenerator<Uint8Array> {
  const check = new MagicCheck(expected);
  for await (const chunk of source) {
    const checked = check.push(chunk);
    if (checked !== undefined) yield checked;
  }
  yield* check.end();
}

/** Holds a layer's first bytes back until it is sure that they are what was said. `about` begins the messages of errors. */
export class MagicCheck {
  readonly #expected: Compression;
  readonly #about: string;
  #head: Buffer | undefined = Buffer.alloc(0);

  constructor(expected: Compression, about = '') {
    this.#expected = expected;
    this.#about = about;
  }

  /** Gives what may be used: all that came so far, if this is where it is sure. @throws EngineError data-loss if it is something else */
  push(chunk: Uint8Array): Uint8Array | undefined {
    if (this.#head === undefined) return chunk;
    const head = Buffer.concat([this.#head, chunk]);
    this.#head = head;
    if (head.length < magicBytes) return undefined;
    this.#head = undefined;
    const actual = sniff(head);
    if (actual === this.#expected) return head;
    throw this.#error(`the media type says ${this.#expected}, the bytes are ${actual}`);
  }

  /** Nothing more comes: what is still held back. @throws EngineError data-loss for what is too short to be compressed */
  end(): Uint8Array[] {
    if (this.#head === undefined) return [];
    if (this.#expected === 'none') return [this.#head];
    throw this.#error(`the layer is empty, ${this.#expected} was said`);
  }

  #error(what: string): EngineError {
    return new EngineError('data-loss', this.#about + what);
  }
}

/** The media type of a tar of which only its first four bytes are known. */
export function mediaTypeOfTar(head: Buffer): string {
  const compression = sniff(head);
  return `application/vnd.oci.image.layer.v1.tar${compression === 'none' ? '' : `+${compression}`}`;
}

function sniff(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  const magic = head.readUInt32LE(0);
  // A zstd stream may begin with a skippable frame.
  if (magic === 0xfd2fb528 || magic >>> 4 === 0x0184d2a5) return 'zstd';
  return 'none';
}

async function* throughStream(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
): AsyncGenerator<Buffer> {
  const fed = feed(source, transform);
  try {
    for await (const chunk of transform) yield chunk as Buffer;
    await fed;
  } catch (error) {
    throw asDamage(error);
  } finally {
    transform.destroy();
    await fed.catch(() => undefined);
  }
}

/** Ends when the source is used up or the transform is gone. */
async function feed(source: AsyncIterable<Uint8Array>, transform: Transform): Promise<void> {
  const closed = once(transform, 'close').catch(() => undefined);
  try {
    for await (const chunk of source) {
      if (transform.destroyed) return;
      if (!transform.write(chunk)) await drained(transform, closed);
    }
    transform.end();
  } catch (error) {
    transform.destroy(error instanceof Error ? error : new Error(messageOf(error)));
  }
}

/** Resolves when there is room for more, or the stream is gone, which `closed` tells. */
export async function drained(stream: Writable, closed: Promise<unknown>): Promise<void> {
  await Promise.race([once(stream, 'drain').catch(() => undefined), closed]);
}

async function* unzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const splitter = new ZstdFrameSplitter();
  const pieces = framePieces(source, splitter)[Symbol.asyncIterator]();
  for (;;) {
    const frame = await takeSmallFrame(pieces);
    if (frame.pieces.length === 0) break;
    const output = frame.isWhole ? decompressSmall(Buffer.concat(frame.pieces)) : undefined;
    if (output !== undefined) yield output;
    else yield* throughStream(restOfFrame(frame, pieces), createZstdDecompress(streamOptions));
  }
  if (!splitter.isBetweenFrames)
    throw new EngineError('data-loss', 'damaged zstd: it ends in the middle of a frame');
}

interface FrameHead {
  readonly pieces: Uint8Array[];
  readonly isWhole: boolean;
}

type Pieces = AsyncIterator<{ readonly bytes: Uint8Array; readonly isLast: boolean }, void>;

async function* framePieces(
  source: AsyncIterable<Uint8Array>,
  splitter: ZstdFrameSplitter,
): AsyncGenerator<{ readonly bytes: Uint8Array; readonly isLast: boolean }, void> {
  for await (const chunk of source) yield* splitter.push(chunk);
}

async function takeSmallFrame(pieces: Pieces): Promise<FrameHead> {
  const taken: Uint8Array[] = [];
  let length = 0;
  while (length <= smallFrameBytes) {
    const next = await pieces.next();
    if (next.done === true) return { pieces: taken, isWhole: false };
    taken.push(next.value.bytes);
    length += next.value.bytes.length;
    if (next.value.isLast) return { pieces: taken, isWhole: true };
  }
  return { pieces: taken, isWhole: false };
}

async function* restOfFrame(frame: FrameHead, pieces: Pieces): AsyncGenerator<Uint8Array> {
  yield* frame.pieces;
  if (frame.isWhole) return;
  for (;;) {
    const next = await pieces.next();
    if (next.done === true) return;
    yield next.value.bytes;
    if (next.value.isLast) return;
  }
}

/** Undefined if the frame holds more than is good in one piece. */
function decompressSmall(frame: Buffer): Buffer | undefined {
  try {
    return zstdDecompressSync(frame, { maxOutputLength: smallFrameOutputBytes });
  } catch (error) {
    if (errnoOf(error) === 'ERR_BUFFER_TOO_LARGE') return undefined;
    throw asDamage(error);
  }
}

function asDamage(error: unknown): unknown {
  const code = errnoOf(error) ?? '';
  const isDamage = code.startsWith('Z_') || code.startsWith('ZSTD_');
  if (!isDamage) return error;
  return new EngineError('data-loss', `damaged compression: ${messageOf(error)}`, { cause: error });
}
