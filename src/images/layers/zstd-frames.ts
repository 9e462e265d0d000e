/**
 * Splits a zstd stream into its frames (RFC 8878, section 3). Node's decompressor stops in silence after the first,
 * yet pzstd writes many, zstd:chunked one for each file, and both put metadata into skippable frames.
 */
import { EngineError } from '../../lib/errors.ts';

/** A piece of a frame, in order. Skippable frames give none. */
export interface FramePiece {
  readonly bytes: Uint8Array;
  /** The frame ends with this piece. */
  readonly isLast: boolean;
}

const frameMagic = 0xfd2fb528;
const magicBytes = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
const skippableMagic = 0x184d2a50;

type State = 'magic' | 'skip-size' | 'descriptor' | 'header' | 'block-header' | 'block' | 'checksum' | 'skip';

/** Bytes of each field that is read whole; 0 where bytes only pass. */
const fieldBytes: Readonly<Record<State, number>> = {
  magic: 4,
  'skip-size': 4,
  descriptor: 1,
  header: 0,
  'block-header': 3,
  block: 0,
  checksum: 0,
  skip: 0,
};

export class ZstdFrameSplitter {
  readonly #field = Buffer.alloc(4);
  #state: State = 'magic';
  #have = 0;
  /** Bytes that pass before the next field. */
  #passing = 0;
  #isLastBlock = false;
  #hasChecksum = false;

  /** @throws EngineError data-loss if something else than a frame follows a frame */
  *push(chunk: Uint8Array): Generator<FramePiece> {
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      const wasInFrame = this.#isInFrame;
      at = this.#passing > 0 ? this.#pass(chunk, at) : this.#read(chunk, at);
      if (wasInFrame && this.#isInFrame) continue;
      if (wasInFrame) yield { bytes: chunk.subarray(start, at), isLast: true };
      // The magic may have come in pieces: it is given anew.
      else if (this.#isInFrame) yield { bytes: magicBytes, isLast: false };
      start = at;
    }
    if (at > start) yield { bytes: chunk.subarray(start, at), isLast: false };
  }

  get #isInFrame(): boolean {
    return this.#state !== 'magic' && this.#state !== 'skip-size' && this.#state !== 'skip';
  }

  /** True between frames: the only place where a stream may end. */
  get isBetweenFrames(): boolean {
    return this.#state === 'magic' && this.#have === 0;
  }

  #pass(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.#passing, chunk.length - at);
    this.#passing -= taken;
    if (this.#passing === 0) this.#afterPassing();
    return at + taken;
  }

  #afterPassing(): void {
    if (this.#state === 'header') this.#enter('block-header');
    else if (this.#state === 'block') this.#afterBlock();
    else this.#enter('magic');
  }

  #afterBlock(): void {
    if (!this.#isLastBlock) this.#enter('block-header');
    else if (this.#hasChecksum) this.#enter('checksum', 4);
    else this.#enter('magic');
  }

  #enter(state: State, passing = 0): void {
    this.#state = state;
    this.#passing = passing;
    this.#have = 0;
  }

  #read(chunk: Uint8Array, at: number): number {
    const wanted = fieldBytes[this.#state];
    const taken = Math.min(wanted - this.#have, chunk.length - at);
    this.#field.set(chunk.subarray(at, at + taken), this.#have);
    this.#have += taken;
    if (this.#have === wanted) this.#onField();
    return at + taken;
  }

  #onField(): void {
    switch (this.#state) {
      case 'magic': {
        const magic = this.#field.readUInt32LE(0);
        if (magic === frameMagic) this.#enter('descriptor');
        else if ((magic & 0xffff_fff0) === skippableMagic) this.#enter('skip-size');
        else throw new EngineError('data-loss', 'damaged zstd: something else follows a frame');
        return;
      }
      case 'skip-size': {
        const size = this.#field.readUInt32LE(0);
        if (size === 0) this.#enter('magic');
        else this.#enter('skip', size);
        return;
      }
      case 'descriptor':
        this.#onDescriptor(this.#field.readUInt8(0));
        return;
      default:
        this.#onBlockHeader(this.#field.readUIntLE(0, 3));
    }
  }

  #onDescriptor(descriptor: number): void {
    const isSingleSegment = (descriptor & 0x20) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
    const contentBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
    this.#hasChecksum = (descriptor & 0x04) !== 0;
    this.#enter('header', (isSingleSegment ? 0 : 1) + dictionaryBytes + contentBytes);
  }

  #onBlockHeader(header: number): void {
    this.#isLastBlock = (header & 1) !== 0;
    const isRunLength = ((header >> 1) & 3) === 1;
    const size = isRunLength ? 1 : header >> 3;
    if (size > 0) this.#enter('block', size);
    else this.#afterBlock();
  }
}
