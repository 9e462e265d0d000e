/**
 * A tar parser for layers: synchronous and fed with chunks, so that a worker parses, hashes and writes without a
 * promise per entry; and bounded, so that no archive decides how much memory it takes.
 */
import { EngineError } from '../../lib/errors.ts';
import type { LayerLimits } from './layer-types.ts';
import { parsePaxRecords, type PaxOverlay } from './pax-records.ts';
import { checkSparseMap, SparseMapReader, tooManyRanges, type SparseRange } from './sparse-map.ts';
import { refused, resolveEntry, type ResolvedEntry } from './tar-entry.ts';
import {
  blockBytes,
  damaged,
  isZeroBlock,
  parseHeader,
  readSparsePairs,
  type RawHeader,
  type TarEntry,
} from './tar-header.ts';

/** Gets the archive's entries in order. What it throws ends the parse. */
export interface TarSink {
  begin(entry: TarEntry): void;
  /** Bytes `start` to `end` of `chunk` belong at `offset` of the entry begun last. The chunk is reused afterwards. */
  data(chunk: Buffer, start: number, end: number, offset: number): void;
  finish(): void;
}

type State = 'header' | 'lone-zero' | 'gnu-sparse' | 'map-in-data' | 'meta' | 'content' | 'padding' | 'done';

export class TarReader {
  readonly #limits: LayerLimits;
  readonly #sink: TarSink;
  readonly #scratch = Buffer.alloc(blockBytes);
  #scratchBytes = 0;
  #state: State = 'header';
  #remaining = 0;
  #padding = 0;
  #metaType = '';
  #meta: Buffer[] = [];
  #pax: PaxOverlay | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;
  #current: ResolvedEntry | undefined;
  #mapReader: SparseMapReader | undefined;
  #ranges: SparseRange[] = [];
  #rangeIndex = 0;
  #rangeDone = 0;
  #entries = 0;
  #contentBytes = 0;
  #tarBytes = 0;

  constructor(limits: LayerLimits, sink: TarSink) {
    this.#limits = limits;
    this.#sink = sink;
  }

  /** @throws EngineError data-loss or invalid-argument; the reader is of no use afterwards */
  write(chunk: Buffer): void {
    this.#tarBytes += chunk.length;
    if (this.#tarBytes > this.#limits.maxTarBytes) {
      throw new EngineError('invalid-argument', `the tar is longer than ${this.#limits.maxTarBytes} bytes`);
    }
    let at = 0;
    while (at < chunk.length && this.#state !== 'done') {
      if (this.#state === 'meta' || this.#state === 'content') at = this.#takeData(chunk, at);
      else if (this.#state === 'padding') at = this.#takePadding(chunk, at);
      else at = this.#takeBlock(chunk, at);
    }
  }

  /** The archive is at its end. @throws EngineError data-loss if it should not be */
  end(): void {
    const isWhole = this.#state === 'done' || this.#state === 'header' || this.#state === 'lone-zero';
    const isBetween = this.#pax === undefined && this.#longName === undefined && this.#longLink === undefined;
    if (!isWhole || this.#scratchBytes > 0 || !isBetween) throw damaged('it ends in the middle of an entry');
  }

  #takeBlock(chunk: Buffer, at: number): number {
    if (this.#scratchBytes === 0 && chunk.length - at >= blockBytes) {
      this.#onBlock(chunk, at);
      return at + blockBytes;
    }
    const taken = Math.min(blockBytes - this.#scratchBytes, chunk.length - at);
    chunk.copy(this.#scratch, this.#scratchBytes, at, at + taken);
    this.#scratchBytes += taken;
    if (this.#scratchBytes === blockBytes) {
      this.#scratchBytes = 0;
      this.#onBlock(this.#scratch, 0);
    }
    return at + taken;
  }

  #onBlock(block: Buffer, at: number): void {
    if (this.#state === 'gnu-sparse') this.#onGnuSparse(block, at);
    else if (this.#state === 'map-in-data') this.#onMapInData(block, at);
    else if (isZeroBlock(block, at)) this.#state = this.#state === 'lone-zero' ? 'done' : 'lone-zero';
    else if (this.#state === 'lone-zero') throw damaged('a block of zeros among the entries');
    else this.#onHeader(parseHeader(block, at));
  }

  #onHeader(raw: RawHeader): void {
    if ('xgLK'.includes(raw.typeFlag)) {
      this.#beginMeta(raw);
      return;
    }
    const extras = { pax: this.#pax, longName: this.#longName, longLink: this.#longLink };
    const resolved = resolveEntry(raw, extras, this.#limits);
    this.#pax = this.#longName = this.#longLink = undefined;
    this.#count(resolved.entry);
    this.#current = resolved;
    this.#remaining = resolved.storedBytes;
    this.#padding = paddingOf(resolved.storedBytes);
    switch (resolved.layout.name) {
      case 'plain':
        this.#beginContent([{ offset: 0, length: resolved.storedBytes }]);
        break;
      case 'mapped':
        this.#beginContent(resolved.layout.ranges);
        break;
      case 'gnu-extended':
        this.#ranges = [...resolved.layout.ranges];
        this.#state = 'gnu-sparse';
        break;
      case 'map-in-data':
        this.#mapReader = new SparseMapReader(this.#limits.maxSparseRanges);
        this.#state = 'map-in-data';
        break;
    }
  }

  #count(entry: TarEntry): void {
    this.#entries += 1;
    if (this.#entries > this.#limits.maxEntries) {
      throw new EngineError('invalid-argument', `more than ${this.#limits.maxEntries} entries`);
    }
    this.#contentBytes += entry.contentBytes;
    if (this.#contentBytes > this.#limits.maxContentBytes) {
      throw refused(entry.name, `takes the layer beyond ${this.#limits.maxContentBytes} bytes of content`);
    }
  }

  #beginMeta(raw: RawHeader): void {
    if (raw.size > this.#limits.maxHeaderBytes) {
      throw damaged(
        `an extended header of ${raw.size} bytes, at most ${this.#limits.maxHeaderBytes} are taken`,
      );
    }
    this.#metaType = raw.typeFlag;
    this.#meta = [];
    this.#remaining = raw.size;
    this.#padding = paddingOf(raw.size);
    this.#state = 'meta';
    if (raw.size === 0) this.#finishMeta();
  }

  #finishMeta(): void {
    const data = Buffer.concat(this.#meta);
    this.#meta = [];
    this.#state = this.#padding > 0 ? 'padding' : 'header';
    switch (this.#metaType) {
      case 'x':
        this.#pax = parsePaxRecords(data);
        break;
      case 'L':
        this.#longName = untilNul(data);
        break;
      case 'K':
        this.#longLink = untilNul(data);
        break;
      default:
      // Global headers (git archive writes one) say nothing about a layer's files.
    }
  }

  #onGnuSparse(block: Buffer, at: number): void {
    this.#ranges.push(...readSparsePairs(block, at, 21));
    if (this.#ranges.length > this.#limits.maxSparseRanges) throw tooManyRanges(this.#limits.maxSparseRanges);
    if (block[at + 504] === 0) this.#beginContent(this.#ranges);
  }

  #onMapInData(block: Buffer, at: number): void {
    this.#remaining -= blockBytes;
    if (this.#remaining < 0) throw damaged('a sparse map longer than its entry');
    const ranges = this.#mapReader?.push(block.subarray(at, at + blockBytes));
    if (ranges !== undefined) this.#beginContent(ranges);
  }

  #beginContent(ranges: readonly SparseRange[]): void {
    const resolved = this.#currentEntry();
    this.#ranges = [...checkSparseMap(ranges, resolved.entry.contentBytes, this.#remaining)];
    this.#rangeIndex = 0;
    this.#rangeDone = 0;
    this.#mapReader = undefined;
    this.#sink.begin(resolved.entry);
    this.#state = 'content';
    if (this.#remaining === 0) this.#finishContent();
  }

  #takeData(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#remaining);
    if (this.#state === 'meta') this.#meta.push(Buffer.from(chunk.subarray(at, end)));
    else this.#place(chunk, at, end);
    this.#remaining -= end - at;
    if (this.#remaining === 0) {
      if (this.#state === 'meta') this.#finishMeta();
      else this.#finishContent();
    }
    return end;
  }

  #place(chunk: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      const range = this.#ranges[this.#rangeIndex];
      if (range === undefined) throw damaged('more data than its sparse map has room for');
      const taken = Math.min(end - at, range.length - this.#rangeDone);
      this.#sink.data(chunk, at, at + taken, range.offset + this.#rangeDone);
      at += taken;
      this.#rangeDone += taken;
      if (this.#rangeDone === range.length) {
        this.#rangeIndex += 1;
        this.#rangeDone = 0;
      }
    }
  }

  #finishContent(): void {
    this.#currentEntry();
    this.#current = undefined;
    this.#sink.finish();
    this.#state = this.#padding > 0 ? 'padding' : 'header';
  }

  #takePadding(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#padding, chunk.length - at);
    this.#padding -= taken;
    if (this.#padding === 0) this.#state = 'header';
    return at + taken;
  }

  #currentEntry(): ResolvedEntry {
    if (this.#current === undefined) throw new EngineError('internal', 'tar reader: data without an entry');
    return this.#current;
  }
}

function paddingOf(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

function untilNul(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end === -1 ? data.length : end);
}
