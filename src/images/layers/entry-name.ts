/** Names of layer entries: made plain, kept inside, and told apart from whiteouts (OCI image-spec, layer.md). */
import type { NativePath } from '../../linux/at.ts';
import { refused } from './tar-entry.ts';

/** What an entry's name asks for. `directory` is '' for the layer's root. */
export type EntryTarget =
  | { readonly name: 'root' }
  | { readonly name: 'entry'; readonly directory: string; readonly base: string }
  /** `base` of the layers below is hidden. */
  | { readonly name: 'whiteout'; readonly directory: string; readonly base: string }
  /** All that the layers below have in `directory` is hidden. */
  | { readonly name: 'opaque'; readonly directory: string }
  /** Bookkeeping of AUFS, in old images. */
  | { readonly name: 'ignored' };

const whiteoutPrefix = '.wh.';
const aufsPrefix = '.wh..wh.';
const opaqueName = '.wh..wh..opq';

/** @throws EngineError invalid-argument for a name that leaves the layer or misuses the whiteout prefix */
export function targetOf(entryName: string): EntryTarget {
  const path = plainPath(entryName, entryName);
  if (path === '') return { name: 'root' };
  const slash = path.lastIndexOf('/');
  const directory = slash === -1 ? '' : path.slice(0, slash);
  const base = path.slice(slash + 1);
  if (directory.includes(whiteoutPrefix)) {
    const parts = directory.split('/');
    if (parts.some((part) => part.startsWith(aufsPrefix))) return { name: 'ignored' };
    if (parts.some((part) => part.startsWith(whiteoutPrefix))) {
      throw refused(entryName, 'lies below a whiteout');
    }
  }
  if (!base.startsWith(whiteoutPrefix)) return { name: 'entry', directory, base };
  if (base === opaqueName) return { name: 'opaque', directory };
  if (base.startsWith(aufsPrefix)) return { name: 'ignored' };
  const hidden = base.slice(whiteoutPrefix.length);
  if (hidden === '' || hidden === '.' || hidden === '..')
    throw refused(entryName, 'is a whiteout of nothing');
  return { name: 'whiteout', directory, base: hidden };
}

/** The target of a hard link, as directory and name. */
export function linkTargetOf(linkName: string, entryName: string): { directory: string; base: string } {
  const path = plainPath(linkName, entryName);
  const slash = path.lastIndexOf('/');
  const base = path.slice(slash + 1);
  if (path === '' || base.startsWith(whiteoutPrefix)) throw refused(entryName, 'is a hard link to no file');
  return { directory: slash === -1 ? '' : path.slice(0, slash), base };
}

/** Text of one character a byte, for the kernel. */
export function nativeName(name: string): NativePath {
  // oxlint-disable-next-line no-control-regex -- bytes are meant
  return /^[\x01-\x7f]*$/.test(name) ? name : Buffer.from(`${name}\0`, 'latin1');
}

/** Without empty parts and dots; `..` may only take back what the name itself has entered. */
function plainPath(name: string, entryName: string): string {
  if (!needsWork.test(name)) return name;
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) throw refused(entryName, 'leaves the layer by ..');
  }
  return parts.join('/');
}

const needsWork = /(?:^|\/)(?:\.{0,2})(?:\/|$)/;
