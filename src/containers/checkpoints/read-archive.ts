/**
 * Reading a checkpoint archive: a tar that nobody vouches for. Only the names that are known are written, each once, by a descriptor
 * of an empty directory; anything but files and directories is refused, and so is what is larger than it may be.
 */
import { closeSync, constants, read, fstatSync, openSync, readSync, statfsSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { decompress, mediaTypeOfTar } from '../../images/layers/decompress.ts';
import { defaultLayerLimits } from '../../images/layers/layer-types.ts';
import type { TarEntry } from '../../images/layers/tar-header.ts';
import { TarReader, type TarSink } from '../../images/layers/tar-reader.ts';
import { mkdirat, openat, pathDirectory } from '../../linux/at.ts';
import { O_CLOEXEC } from '../../linux/libc.ts';
import { archiveFiles } from './archive-files.ts';

export interface ArchiveLimits {
  /** All that is kept of it, uncompressed: mostly the memory of a container. */
  readonly maxBytes: number;
  readonly maxDescriptionBytes: number;
  readonly maxEntries: number;
}

export const defaultArchiveLimits: ArchiveLimits = {
  maxBytes: 64 * 1024 ** 3,
  maxDescriptionBytes: 8 * 1024 ** 2,
  maxEntries: 100_000,
};

const createNew =
  constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC;
const imageName = /^[\w.-]{1,200}$/;

export interface ReadArchiveRequest {
  /** An open file. */
  readonly fd: number;
  /** An empty directory of our own. */
  readonly directory: string;
  readonly limits?: Partial<ArchiveLimits>;
}

/**
 * Unpacks the parts of an archive that a restore needs: `config.dump`, `deleted.files`, `rootfs-diff.tar` and the files in
 * `checkpoint/`. Plain, gzip or zstd.
 * @throws EngineError invalid-argument or data-loss saying what is wrong with it, resource-exhausted; the signal's reason
 */
export async function readArchive(request: ReadArchiveRequest, signal: AbortSignal): Promise<void> {
  const { fd, directory } = request;
  const limits = { ...defaultArchiveLimits, ...request.limits };
  using parts = new ArchiveParts(directory, limits);
  const { maxEntries } = limits;
  const reader = new TarReader({ ...defaultLayerLimits, maxEntries, maxNameBytes: 1024 }, parts);
  for await (const chunk of decompress(bytesOf(fd), mediaTypeOf(fd))) {
    signal.throwIfAborted();
    reader.write(chunk);
  }
  reader.end();
}

const chunkBytes = 1024 ** 2;
const readAt = promisify(read);

/** The whole file; the descriptor stays its owner's. */
async function* bytesOf(fd: number): AsyncGenerator<Uint8Array> {
  for (let position = 0; ;) {
    const { bytesRead, buffer } = await readAt(fd, Buffer.alloc(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function mediaTypeOf(fd: number): string {
  const head = Buffer.alloc(4);
  if (!fstatSync(fd).isFile() || readSync(fd, head, 0, 4, 0) < 4)
    throw new EngineError('invalid-argument', 'it is not an archive');
  return mediaTypeOfTar(head);
}

class ArchiveParts implements TarSink, Disposable {
  readonly #limits: ArchiveLimits;
  readonly #root: number;
  readonly #images: number;
  readonly #seen = new Set<string>();
  readonly #freeBytes: number;
  #file: number | undefined;
  #bytes = 0;

  constructor(directory: string, limits: ArchiveLimits) {
    this.#limits = limits;
    this.#root = openSync(directory, pathDirectory);
    mkdirat(this.#root, archiveFiles.images, 0o700);
    this.#images = openat(this.#root, archiveFiles.images, pathDirectory, 0);
    const { bavail, bsize } = statfsSync(directory);
    // Not the last of it: the node lives on this disk.
    this.#freeBytes = Math.floor(bavail * bsize * 0.9);
  }

  begin(entry: TarEntry): void {
    const name = entry.name.replace(/^(?:\.\/)+/, '').replace(/\/+$/, '');
    if (name.startsWith('/') || name.split('/').includes('..') || name.includes('\0'))
      throw refused(`it has the name ${quote(entry.name)}`);
    if (entry.kind === 'directory') return;
    if (entry.kind !== 'file') throw refused(`${quote(name)} in it is a ${entry.kind}`);
    const part = this.#partOf(name, entry.contentBytes);
    if (part === undefined) return;
    if (this.#seen.has(name)) throw refused(`it has ${quote(name)} twice`);
    this.#seen.add(name);
    this.#take(entry.contentBytes, name);
    this.#file = openat(part.directory, part.name, createNew, 0o600);
  }

  data(chunk: Buffer, start: number, end: number, offset: number): void {
    if (this.#file === undefined) return;
    for (let at = start; at < end;) at += writeSync(this.#file, chunk, at, end - at, offset + at - start);
  }

  finish(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  [Symbol.dispose](): void {
    this.finish();
    closeSync(this.#images);
    closeSync(this.#root);
  }

  /** Where a file goes, undefined for one that is not needed. */
  #partOf(name: string, bytes: number): { readonly directory: number; readonly name: string } | undefined {
    const isDescription = name === archiveFiles.config || name === archiveFiles.deletedFiles;
    if (isDescription && bytes > this.#limits.maxDescriptionBytes)
      throw refused(`${quote(name)} in it has ${bytes} bytes`);
    if (isDescription || name === archiveFiles.rootChanges) return { directory: this.#root, name };
    if (!name.startsWith(`${archiveFiles.images}/`)) return undefined;
    const image = name.slice(archiveFiles.images.length + 1);
    if (!imageName.test(image) || image === '.') throw refused(`it has the name ${quote(name)}`);
    return { directory: this.#images, name: image };
  }

  #take(bytes: number, name: string): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#limits.maxBytes)
      throw refused(`up to ${quote(name)} it has ${this.#bytes} bytes, more than ${this.#limits.maxBytes}`);
    if (this.#bytes > this.#freeBytes)
      throw new EngineError('resource-exhausted', `no space for its ${this.#bytes} bytes`);
  }
}

function refused(what: string): EngineError {
  return new EngineError('invalid-argument', what);
}
