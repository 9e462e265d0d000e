/** From the pieces of an entry (header, PAX records, GNU long names) to the entry that is meant. */
import { EngineError, type ErrorKind } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { LayerLimits } from './layer-types.ts';
import type { PaxOverlay, PaxSparse } from './pax-records.ts';
import { parseSparseList, type SparseRange } from './sparse-map.ts';
import { damaged, type EntryKind, type RawHeader, type TarEntry } from './tar-header.ts';

/** What preceded a header and speaks of it. */
export interface EntryExtras {
  readonly pax: PaxOverlay | undefined;
  readonly longName: string | undefined;
  readonly longLink: string | undefined;
}

/** Where the data of an entry goes: as it comes, by a known map, or by a map that is still to be read. */
type DataLayout =
  | { readonly name: 'plain' }
  | { readonly name: 'mapped'; readonly ranges: readonly SparseRange[] }
  | { readonly name: 'gnu-extended'; readonly ranges: readonly SparseRange[] }
  | { readonly name: 'map-in-data' };

/** An entry, the bytes that follow it, and their layout. */
export interface ResolvedEntry {
  readonly entry: TarEntry;
  readonly storedBytes: number;
  readonly layout: DataLayout;
}

const maxId = 0xffff_fffe;

/** @throws EngineError invalid-argument for what no layer may hold, data-loss for what no writer makes */
export function resolveEntry(raw: RawHeader, extras: EntryExtras, limits: LayerLimits): ResolvedEntry {
  const sparse = raw.typeFlag === 'S' ? undefined : extras.pax?.sparse;
  const fields = overlayFields(raw, extras, sparse);
  checkFields(fields, limits);
  const kind = kindOf(raw.typeFlag, fields.name);
  const isFile = kind === 'file';
  const storedBytes = isFile ? fields.size : 0;
  const layout = isFile ? layoutOf(raw, sparse, limits) : ({ name: 'plain' } as const);
  const contentBytes = isFile ? realSize(raw, sparse, layout, storedBytes) : 0;
  const entry: TarEntry = {
    kind,
    name: fields.name,
    linkName: fields.linkName,
    mode: raw.mode,
    uid: fields.uid,
    gid: fields.gid,
    mtime: fields.mtime,
    deviceMajor: raw.deviceMajor,
    deviceMinor: raw.deviceMinor,
    contentBytes,
    xattrs: extras.pax?.xattrs ?? noXattrs,
  };
  return { entry, storedBytes, layout };
}

/** An error about one entry, named. */
export function refused(name: string, what: string, kind: ErrorKind = 'invalid-argument'): EngineError {
  return new EngineError(kind, `entry ${quote(name)} ${what}`);
}

const noXattrs: ReadonlyMap<string, Buffer> = new Map();

function kindOf(typeFlag: string, name: string): EntryKind {
  switch (typeFlag) {
    case '0':
    case '\0':
    case '7':
    case 'S':
      // v7 had no type for directories.
      return name.endsWith('/') ? 'directory' : 'file';
    case '1':
      return 'hard-link';
    case '2':
      return 'symlink';
    case '3':
      return 'char-device';
    case '4':
      return 'block-device';
    case '5':
      return 'directory';
    case '6':
      return 'fifo';
    default:
      throw refused(name, `has the unknown type ${quote(typeFlag)}`);
  }
}

function layoutOf(raw: RawHeader, sparse: PaxSparse | undefined, limits: LayerLimits): DataLayout {
  if (raw.gnuSparse !== undefined) {
    const { ranges, isExtended } = raw.gnuSparse;
    return { name: isExtended ? 'gnu-extended' : 'mapped', ranges };
  }
  if (sparse === undefined) return { name: 'plain' };
  if (sparse.major === 1 && sparse.minor === 0) return { name: 'map-in-data' };
  if ((sparse.major ?? 0) !== 0) throw damaged(`a sparse file of version ${sparse.major}.${sparse.minor}`);
  if (sparse.list === undefined) return { name: 'plain' };
  return { name: 'mapped', ranges: parseSparseList(sparse.list, limits.maxSparseRanges) };
}

function realSize(
  raw: RawHeader,
  sparse: PaxSparse | undefined,
  layout: DataLayout,
  storedBytes: number,
): number {
  if (layout.name === 'plain') return storedBytes;
  const size = raw.gnuSparse?.realSize ?? sparse?.realSize;
  if (size === undefined) throw damaged('a sparse file without its real size');
  return size;
}

interface Fields {
  readonly name: string;
  readonly linkName: string;
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number };
}

function overlayFields(raw: RawHeader, extras: EntryExtras, sparse: PaxSparse | undefined): Fields {
  const pax = extras.pax ?? noPax;
  return {
    name: extras.longName ?? sparse?.name ?? pax.path ?? raw.name,
    linkName: extras.longLink ?? pax.linkPath ?? raw.linkName,
    size: pax.size ?? raw.size,
    uid: pax.uid ?? raw.uid,
    gid: pax.gid ?? raw.gid,
    mtime: pax.mtime ?? { seconds: raw.mtimeSeconds, nanoseconds: 0 },
  };
}

const noPax: PaxOverlay = {};

function checkFields(fields: Fields, limits: LayerLimits): void {
  for (const text of [fields.name, fields.linkName]) {
    if (text.length > limits.maxNameBytes) {
      throw refused(
        fields.name,
        `has a name or link of ${text.length} bytes, at most ${limits.maxNameBytes} are taken`,
      );
    }
    if (text.includes('\0')) throw refused(fields.name, 'has a NUL in its name or link');
  }
  // -1 would tell chown to leave the owner alone.
  if (fields.uid > maxId || fields.gid > maxId) {
    throw refused(fields.name, `has the owner ${fields.uid}:${fields.gid}`);
  }
}
