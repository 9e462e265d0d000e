/**
 * Applies the entries of one layer to a fresh directory of its own, as overlayfs wants to find them: layers are
 * unpacked without those below them, so a whiteout becomes a device 0:0 whether or not there is anything to hide.
 */
import { constants, writeSync } from 'node:fs';
import { errnoOf } from '../../lib/errors.ts';
import {
  close,
  fchmod,
  fchmodat,
  fchown,
  fchownat,
  type FileTime,
  ftruncate,
  futimens,
  linkat,
  mkdirat,
  mknodat,
  type NativePath,
  openat,
  symlinkat,
  utimensat,
} from '../../linux/at.ts';
import { type FileStatus, fstatat, lsetxattr } from '../../linux/file-status.ts';
import { O_CLOEXEC } from '../../linux/libc.ts';
import { linkTargetOf, nativeName, targetOf } from './entry-name.ts';
import { isWhiteout, LayerTree, makeOpaque } from './layer-tree.ts';
import { removeTree } from './remove-tree.ts';
import { refused } from './tar-entry.ts';
import type { TarEntry } from './tar-header.ts';
import type { TarSink } from './tar-reader.ts';

const createFlags =
  constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC;
const noDevice = { major: 0, minor: 0 };

/** Where an entry goes: a name in an open directory. */
interface Place {
  readonly dirFd: number;
  readonly name: NativePath;
  /** The path in the layer. */
  readonly path: string;
}

interface OpenFile {
  readonly fd: number;
  readonly place: Place;
  readonly entry: TarEntry;
  /** Where the data written so far ends. */
  endBytes: number;
}

export class LayerApplier implements TarSink, Disposable {
  readonly #tree: LayerTree;
  readonly #directoryTimes = new Map<string, FileTime>();
  #file: OpenFile | undefined;
  /** The entry in work, for errors. */
  currentName = '';
  /** The layer says what the root directory itself looks like. */
  describesRoot = false;
  /** The layer hides all layers below it. */
  isRootOpaque = false;

  constructor(root: string) {
    this.#tree = new LayerTree(root);
  }

  /** Directories that no entry described. */
  get implied(): readonly string[] {
    return [...this.#tree.implied];
  }

  begin(entry: TarEntry): void {
    this.currentName = entry.name;
    this.#tree.trim();
    const target = targetOf(entry.name);
    switch (target.name) {
      case 'ignored':
        return;
      case 'root':
        this.#describeRoot(entry);
        return;
      case 'opaque':
        this.#hideAll(target.directory, entry);
        return;
      case 'whiteout':
        this.#hide(this.#placeOf(target, entry));
        return;
      case 'entry':
        this.#make(this.#placeOf(target, entry), entry);
    }
  }

  data(chunk: Buffer, start: number, end: number, offset: number): void {
    const file = this.#file;
    // Whiteouts are empty by convention only.
    if (file === undefined) return;
    let at = start;
    while (at < end) at += writeSync(file.fd, chunk, at, end - at, offset + at - start);
    file.endBytes = offset + end - start;
  }

  finish(): void {
    const file = this.#file;
    if (file === undefined) return;
    const { fd, entry, place } = file;
    if (file.endBytes < entry.contentBytes) ftruncate(fd, entry.contentBytes);
    // Owner before mode and attributes: a change of owner takes setuid bits and file capabilities away.
    fchown(fd, entry.uid, entry.gid);
    fchmod(fd, entry.mode);
    setAttributes(place, entry);
    futimens(fd, entry.mtime);
    this.#file = undefined;
    close(fd);
  }

  /** After the last entry: directories get their times, which entries made in them have changed. */
  complete(): void {
    this.#tree.forget();
    for (const [path, time] of this.#directoryTimes) {
      const slash = path.lastIndexOf('/');
      // Before the descriptor is taken: trimming closes those that were given before.
      this.#tree.trim();
      const dirFd = this.#tree.find(slash === -1 ? '' : path.slice(0, slash));
      if (dirFd !== undefined)
        setTimeIfThere(dirFd, path === '' ? '.' : nativeName(path.slice(slash + 1)), time);
    }
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) close(this.#file.fd);
    this.#file = undefined;
    this.#tree[Symbol.dispose]();
  }

  #placeOf(target: { readonly directory: string; readonly base: string }, entry: TarEntry): Place {
    return {
      dirFd: this.#tree.ensure(target.directory, entry.name),
      name: nativeName(target.base),
      path: target.directory === '' ? target.base : `${target.directory}/${target.base}`,
    };
  }

  #describeRoot(entry: TarEntry): void {
    if (entry.kind !== 'directory')
      throw refused(entry.name, 'puts something in place of the root directory');
    this.describesRoot = true;
    this.#describeDirectory({ dirFd: this.#tree.rootFd, name: '.', path: '' }, entry);
  }

  #hideAll(directory: string, entry: TarEntry): void {
    const dirFd = this.#tree.ensure(directory, entry.name);
    makeOpaque(dirFd, '.');
    if (directory === '') this.isRootOpaque = true;
  }

  /** A whiteout speaks of the layers below only: what this layer itself has of that name stays. */
  #hide(place: Place): void {
    const present = fstatat(place.dirFd, place.name);
    if (present === undefined) mknodat(place.dirFd, place.name, constants.S_IFCHR, noDevice);
    else if (isDirectory(present)) makeOpaque(place.dirFd, place.name);
  }

  #make(place: Place, entry: TarEntry): void {
    switch (entry.kind) {
      case 'file':
        this.#file = { fd: this.#create(place), place, entry, endBytes: 0 };
        return;
      case 'directory':
        this.#makeDirectory(place, entry);
        return;
      case 'hard-link':
        this.#makeHardLink(place, entry);
        return;
      case 'symlink':
        if (entry.linkName === '') throw refused(entry.name, 'is a symlink to nothing');
        this.#replacing(place, () => symlinkat(nativeName(entry.linkName), place.dirFd, place.name));
        fchownat(place.dirFd, place.name, entry.uid, entry.gid);
        break;
      case 'char-device':
        this.#makeNode(place, entry, constants.S_IFCHR);
        break;
      case 'block-device':
        this.#makeNode(place, entry, constants.S_IFBLK);
        break;
      case 'fifo':
        this.#makeNode(place, entry, constants.S_IFIFO);
    }
    setAttributes(place, entry);
    utimensat(place.dirFd, place.name, entry.mtime);
  }

  #create(place: Place): number {
    return this.#replacing(place, () => openat(place.dirFd, place.name, createFlags, 0o600));
  }

  #makeNode(place: Place, entry: TarEntry, type: number): void {
    const device =
      type === constants.S_IFIFO ? noDevice : { major: entry.deviceMajor, minor: entry.deviceMinor };
    this.#replacing(place, () => mknodat(place.dirFd, place.name, type | 0o600, device));
    fchownat(place.dirFd, place.name, entry.uid, entry.gid);
    fchmodat(place.dirFd, place.name, entry.mode);
  }

  #makeDirectory(place: Place, entry: TarEntry): void {
    try {
      mkdirat(place.dirFd, place.name, 0o700);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      const present = fstatat(place.dirFd, place.name);
      if (present !== undefined && !isDirectory(present)) {
        this.#remove(place);
        mkdirat(place.dirFd, place.name, 0o700);
        // It was removed and made anew in one layer: what is below it is still hidden.
        if (isWhiteout(present)) makeOpaque(place.dirFd, place.name);
      }
    }
    this.#tree.implied.delete(place.path);
    this.#describeDirectory(place, entry);
  }

  #describeDirectory(place: Place, entry: TarEntry): void {
    fchownat(place.dirFd, place.name, entry.uid, entry.gid);
    fchmodat(place.dirFd, place.name, entry.mode);
    setAttributes(place, entry);
    this.#directoryTimes.set(place.path, entry.mtime);
  }

  #makeHardLink(place: Place, entry: TarEntry): void {
    const target = linkTargetOf(entry.linkName, entry.name);
    const dirFd = this.#tree.find(target.directory);
    const from = { dirFd: dirFd ?? this.#tree.rootFd, name: nativeName(target.base) };
    const status = dirFd === undefined ? undefined : fstatat(dirFd, from.name);
    if (status === undefined || isDirectory(status) || isWhiteout(status)) {
      throw refused(entry.name, 'is a hard link to what is no file of this layer');
    }
    const present = fstatat(place.dirFd, place.name);
    // Already the same file, under whatever path: replacing it would lose it.
    if (present?.inode === status.inode) return;
    this.#replacing(place, () => linkat(from, place));
  }

  #replacing<T>(place: Place, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      this.#remove(place);
      return make();
    }
  }

  #remove(place: Place): void {
    removeTree(place.dirFd, place.name);
    this.#tree.forgetSoon();
    this.#directoryTimes.delete(place.path);
  }
}

function isDirectory(status: FileStatus): boolean {
  return (status.mode & constants.S_IFMT) === constants.S_IFDIR;
}

/**
 * Extended attributes that an image may set. `trusted.*` steers overlayfs (a redirect would show other directories),
 * `security.*` but file capabilities is the host's policy.
 */
function isAllowed(attribute: string): boolean {
  if (attribute.startsWith('user.')) return !attribute.startsWith('user.overlay.');
  return (
    attribute === 'security.capability' ||
    attribute === 'system.posix_acl_access' ||
    attribute === 'system.posix_acl_default'
  );
}

function setAttributes(place: Place, entry: TarEntry): void {
  for (const [attribute, value] of entry.xattrs) {
    if (!isAllowed(attribute)) continue;
    try {
      lsetxattr(place.dirFd, place.name, attribute, value);
    } catch (error) {
      // A file system without attributes, or a kind of file that can have none.
      if (errnoOf(error) !== 'ENOTSUP' && errnoOf(error) !== 'EPERM') throw error;
    }
  }
}

function setTimeIfThere(dirFd: number, name: NativePath, time: FileTime): void {
  try {
    utimensat(dirFd, name, time);
  } catch (error) {
    // A later entry put something else there.
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
