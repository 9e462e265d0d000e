/**
 * The directory that a layer is unpacked into, seen through descriptors. Every directory is reached from the root's
 * descriptor by openat2(RESOLVE_IN_ROOT), so that neither a symlink of the layer nor one exchanged meanwhile leads
 * out of it (CVE-2025-47290, CVE-2021-32760).
 */
import { constants, closeSync, openSync } from 'node:fs';
import { errnoOf } from '../../lib/errors.ts';
import {
  close,
  fchmodat,
  fchownat,
  mkdirat,
  type NativePath,
  openInRoot,
  pathDirectory,
  readlinkat,
  unlinkat,
} from '../../linux/at.ts';
import { type FileStatus, fstatat, lsetxattr } from '../../linux/file-status.ts';
import { nativeName } from './entry-name.ts';
import { refused } from './tar-entry.ts';

const maxOpenDirectories = 256;
const maxLinks = 40;
const opaque = Buffer.from('y');

/** True for what overlayfs takes for "removed here". */
export function isWhiteout(status: FileStatus): boolean {
  const isCharacterDevice = (status.mode & constants.S_IFMT) === constants.S_IFCHR;
  return isCharacterDevice && status.deviceMajor === 0 && status.deviceMinor === 0;
}

/** Hides what the layers below have in a directory. */
export function makeOpaque(dirFd: number, name: NativePath): void {
  lsetxattr(dirFd, name, 'trusted.overlay.opaque', opaque);
}

export class LayerTree implements Disposable {
  readonly rootFd: number;
  /** Directories that no entry described, parents first: they look as the layers below say. */
  readonly implied = new Set<string>();
  readonly #open = new Map<string, number>();
  #isStale = false;

  /** `path` exists, and nobody else writes to it. */
  constructor(path: string) {
    this.rootFd = openSync(path, pathDirectory);
  }

  /** Closes what has piled up or may be wrong by now. Descriptors given before are void afterwards. */
  trim(): void {
    if (this.#isStale || this.#open.size > maxOpenDirectories) this.forget();
  }

  /** A directory or symlink was replaced, so that paths may lead elsewhere: for the next trim. */
  forgetSoon(): void {
    this.#isStale = true;
  }

  forget(): void {
    this.#isStale = false;
    for (const fd of this.#open.values()) close(fd);
    this.#open.clear();
  }

  /** The directory at this path, made with its parents if it is missing. */
  ensure(directory: string, entryName: string): number {
    return this.find(directory) ?? this.#make(directory, entryName);
  }

  /** The directory at this path, if there is one. */
  find(directory: string): number | undefined {
    if (directory === '') return this.rootFd;
    const known = this.#open.get(directory);
    if (known !== undefined) return known;
    try {
      const fd = openInRoot(this.rootFd, nativeName(directory), pathDirectory);
      this.#open.set(directory, fd);
      return fd;
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.forget();
    closeSync(this.rootFd);
  }

  /** Walks part by part, never through a symlink: where one stands, its target takes its place in the walk. */
  #make(directory: string, entryName: string): number {
    const pending = directory.split('/').toReversed();
    const done: string[] = [];
    let links = 0;
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        done.pop();
        continue;
      }
      const parent = this.find(done.join('/'));
      if (parent === undefined) throw refused(entryName, 'lies in no directory');
      const link = this.#enter(parent, part, { path: [...done, part].join('/'), entryName });
      if (link === undefined) {
        done.push(part);
        continue;
      }
      links += 1;
      if (links > maxLinks) throw refused(entryName, 'lies behind too many symlinks');
      if (link.startsWith('/')) done.length = 0;
      pending.push(...link.split('/').toReversed());
    }
    const fd = this.find(directory);
    if (fd === undefined) throw refused(entryName, 'lies in no directory');
    return fd;
  }

  /** Makes sure that `part` is a directory. If it is a symlink, gives its target instead. */
  #enter(
    parent: number,
    part: string,
    about: { readonly path: string; readonly entryName: string },
  ): string | undefined {
    const name = nativeName(part);
    const status = fstatat(parent, name);
    const type = status === undefined ? 0 : status.mode & constants.S_IFMT;
    if (type === constants.S_IFDIR) return undefined;
    if (type === constants.S_IFLNK) return readlinkat(parent, name).toString('latin1');
    const isHidden = status !== undefined && isWhiteout(status);
    if (status !== undefined && !isHidden) throw refused(about.entryName, 'lies below what is no directory');
    if (isHidden) unlinkat(parent, name, 0);
    mkdirat(parent, name, 0o755);
    // The umask of this process is not the layer's, and a setgid parent hands its group on.
    fchownat(parent, name, 0, 0);
    fchmodat(parent, name, 0o755);
    // A removal in this layer still hides what was there below it.
    if (isHidden) makeOpaque(parent, name);
    else this.implied.add(about.path);
    return undefined;
  }
}
