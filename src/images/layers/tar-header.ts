/**
 * One 512-byte tar header (POSIX ustar, GNU and v7), read strictly. Text is held one character a byte (latin1):
 * names in a layer are bytes, and need not be UTF-8.
 */
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { SparseRange } from './sparse-map.ts';

export const blockBytes = 512;

/** What an entry is, once the tar dialects are taken away. */
export type EntryKind =
  | 'file'
  | 'hard-link'
  | 'symlink'
  | 'char-device'
  | 'block-device'
  | 'directory'
  | 'fifo';

/** A header as it stands in the archive, before PAX records and GNU long names are laid over it. */
export interface RawHeader {
  readonly typeFlag: string;
  readonly name: string;
  readonly linkName: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data that follow the header. */
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Present for typeflag S only. */
  readonly gnuSparse: GnuSparseHeader | undefined;
}

/** The old GNU sparse fields: the first ranges, the length of the file, and whether more ranges follow. */
interface GnuSparseHeader {
  readonly ranges: readonly SparseRange[];
  readonly realSize: number;
  readonly isExtended: boolean;
}

/** An entry of the archive, everything resolved. */
export interface TarEntry {
  readonly kind: EntryKind;
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number };
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** The length of the file, holes included. 0 for what is not a file. */
  readonly contentBytes: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** The archive is damaged or not an archive. */
export function damaged(what: string): EngineError {
  return new EngineError('data-loss', `damaged tar: ${what}`);
}

/** True for a block of zeros, two of which end an archive. */
export function isZeroBlock(block: Buffer, at: number): boolean {
  for (let index = at; index < at + blockBytes; index += 1) if (block[index] !== 0) return false;
  return true;
}

/** @throws EngineError data-loss when the checksum or a number does not hold */
export function parseHeader(block: Buffer, at: number): RawHeader {
  verifyChecksum(block, at);
  const typeFlag = String.fromCharCode(block[at + 156] ?? 0);
  const magic = block.toString('latin1', at + 257, at + 265);
  const isUstar = magic.startsWith('ustar\0');
  const hasDevice = isUstar || magic === 'ustar  \0';
  const prefix = isUstar ? readText(block, at + 345, 155) : '';
  const name = readText(block, at, 100);
  return {
    typeFlag,
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: readText(block, at + 157, 100),
    mode: readNumber(block, at + 100, 8) & 0o7777,
    uid: readNumber(block, at + 108, 8),
    gid: readNumber(block, at + 116, 8),
    size: readNumber(block, at + 124, 12),
    mtimeSeconds: readSignedNumber(block, at + 136, 12),
    deviceMajor: hasDevice ? readNumber(block, at + 329, 8) : 0,
    deviceMinor: hasDevice ? readNumber(block, at + 337, 8) : 0,
    gnuSparse: typeFlag === 'S' ? readGnuSparse(block, at) : undefined,
  };
}

/** Reads `count` pairs of offset and length; an empty first field ends the list. */
export function readSparsePairs(block: Buffer, at: number, count: number): SparseRange[] {
  const ranges: SparseRange[] = [];
  for (let index = 0; index < count; index += 1) {
    const start = at + index * 24;
    if (block[start] === 0) break;
    ranges.push({ offset: readNumber(block, start, 12), length: readNumber(block, start + 12, 12) });
  }
  return ranges;
}

function readGnuSparse(block: Buffer, at: number): GnuSparseHeader {
  return {
    ranges: readSparsePairs(block, at + 386, 4),
    isExtended: block[at + 482] !== 0,
    realSize: readNumber(block, at + 483, 12),
  };
}

function verifyChecksum(block: Buffer, at: number): void {
  let unsigned = 8 * 32;
  let highBytes = 0;
  for (let index = at; index < at + blockBytes; index += 1) {
    if (index === at + 148) index = at + 156;
    const byte = block[index] ?? 0;
    unsigned += byte;
    if (byte > 127) highBytes += 1;
  }
  const stored = readNumber(block, at + 148, 8);
  // Some old writers summed signed characters.
  if (stored !== unsigned && stored !== unsigned - 256 * highBytes) {
    throw damaged(`the header checksum is ${stored}, its bytes sum to ${unsigned}`);
  }
}

function readText(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end === -1 || end > at + length ? at + length : end);
}

function readNumber(block: Buffer, at: number, length: number): number {
  const value = readSignedNumber(block, at, length);
  if (value < 0) throw damaged('a negative number in a header');
  return value;
}

/** Octal text, or base 256 in two's complement when the first byte has its high bit set. */
function readSignedNumber(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return readBase256(block, at, length);
  let value = 0;
  let index = at;
  while (index < at + length && block[index] === 0x20) index += 1;
  for (; index < at + length; index += 1) {
    const byte = block[index] ?? 0;
    if (byte === 0 || byte === 0x20) break;
    if (byte < 0x30 || byte > 0x37) {
      throw damaged(`${quote(block.toString('latin1', at, at + length))} is not an octal number`);
    }
    value = value * 8 + (byte - 0x30);
  }
  return value;
}

function readBase256(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  const isNegative = (first & 0x40) !== 0;
  let value = BigInt(isNegative ? first | ~0xff : first & 0x7f);
  for (let index = at + 1; index < at + length; index += 1) value = value * 256n + BigInt(block[index] ?? 0);
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER)
    throw damaged('a number is too large');
  return Number(value);
}
