/** PAX extended headers: `length key=value\n` records that overlay the next entry's header. */
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { parseDecimal, parseSize } from './sparse-map.ts';
import { damaged } from './tar-header.ts';

/** What of a PAX header matters to a layer. */
export interface PaxOverlay {
  path?: string;
  linkPath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: { seconds: number; nanoseconds: number };
  xattrs?: Map<string, Buffer>;
  sparse?: PaxSparse;
}

/** The three PAX dialects of sparse files, not yet told apart. */
export interface PaxSparse {
  major?: number;
  minor?: number;
  name?: string;
  realSize?: number;
  /** Offsets and lengths by turns (0.0 and 0.1). */
  list?: string[];
}

const xattrPrefix = 'SCHILY.xattr.';

/**
 * Reads all records of one header. Unknown keys are passed over, as PAX asks.
 * @throws EngineError data-loss for records that do not parse, invalid-argument for values that cannot be
 */
export function parsePaxRecords(data: Buffer): PaxOverlay {
  const overlay: PaxOverlay = {};
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    if (space === -1 || space - at > 10) throw damaged('a PAX record without a length');
    const text = data.toString('latin1', at, space);
    const end = at + Number(text);
    if (!/^[1-9][0-9]*$/.test(text) || end > data.length || end <= space + 1 || data[end - 1] !== 0x0a) {
      throw damaged(`a PAX record of length ${quote(text)}`);
    }
    const equals = data.indexOf(0x3d, space + 1);
    if (equals === -1 || equals >= end) throw damaged('a PAX record without a value');
    applyRecord(overlay, data.toString('latin1', space + 1, equals), data.subarray(equals + 1, end - 1));
    at = end;
  }
  return overlay;
}

function applyRecord(overlay: PaxOverlay, key: string, value: Buffer): void {
  if (key.startsWith(xattrPrefix)) {
    overlay.xattrs ??= new Map();
    // The value outlives the header buffer.
    overlay.xattrs.set(key.slice(xattrPrefix.length), Buffer.from(value));
    return;
  }
  const text = value.toString('latin1');
  if (key.startsWith('GNU.sparse.')) {
    overlay.sparse ??= {};
    applySparse(overlay.sparse, key.slice('GNU.sparse.'.length), text);
    return;
  }
  // An empty value takes back what a header said: the plain header's field is used then.
  if (text === '') return;
  switch (key) {
    case 'path':
      overlay.path = text;
      break;
    case 'linkpath':
      overlay.linkPath = text;
      break;
    case 'size':
      overlay.size = parseNumber(key, text);
      break;
    case 'uid':
      overlay.uid = parseNumber(key, text);
      break;
    case 'gid':
      overlay.gid = parseNumber(key, text);
      break;
    case 'mtime':
      overlay.mtime = parseTime(text);
      break;
    default:
  }
}

function applySparse(sparse: PaxSparse, key: string, text: string): void {
  switch (key) {
    case 'major':
      sparse.major = parseSize(text);
      break;
    case 'minor':
      sparse.minor = parseSize(text);
      break;
    case 'name':
      sparse.name = text;
      break;
    case 'realsize':
    case 'size':
      sparse.realSize = parseSize(text);
      break;
    case 'map':
      sparse.list = text === '' ? [] : text.split(',');
      break;
    case 'offset':
    case 'numbytes':
      (sparse.list ??= []).push(text);
      break;
    default:
  }
}

function parseNumber(key: string, text: string): number {
  const value = parseDecimal(text);
  if (value !== undefined) return value;
  throw new EngineError('invalid-argument', `PAX ${key} ${quote(text)} is not a number of at least 0`);
}

/** `seconds[.fraction]`, maybe negative. */
function parseTime(text: string): { seconds: number; nanoseconds: number } {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) throw new EngineError('invalid-argument', `PAX mtime ${quote(text)} is not a time`);
  const whole = Number(match[2]);
  const fraction = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] !== '-') return { seconds: whole, nanoseconds: fraction };
  return fraction === 0
    ? { seconds: -whole, nanoseconds: 0 }
    : { seconds: -whole - 1, nanoseconds: 1e9 - fraction };
}
