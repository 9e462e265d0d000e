import { closeSync, openSync, statfsSync } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { TarEntry } from '../../images/layers/tar-header.ts';
import type { TarSink } from '../../images/layers/tar-reader.ts';
import { pathDirectory } from '../../linux/at.ts';
import { archiveFiles } from './archive-files.ts';

export interface ArchiveLimits {
  /** All that is kept of it, uncompressed: mostly the memory of a container. */
  readonly maxBytes: number;
  /** Of each JSON file: `config.dump` has a kilobyte, `deleted.files` the names of what was deleted. */
  readonly maxDescriptionBytes: number;
  /** CRIU writes some dozens of images, six more for each process, and one for each thread. */
  readonly maxEntries: number;
}

export const defaultArchiveLimits: ArchiveLimits = {
  maxBytes: 64 * 1024 ** 3,
  maxDescriptionBytes: 4 * 1024 ** 2,
  maxEntries: 10_000,
};

const imageName = /^[\w.-]{1,200}$/;

/**
 * The parts of an archive that a restore needs, as files of an empty directory. The tar's reader is synchronous and gigabytes are
 * not: entries are judged at once, and written by `flush`.
 */
export class ArchiveParts implements TarSink, AsyncDisposable {
  readonly #limits: ArchiveLimits;
  readonly #directory: string;
  readonly #root: number;
  readonly #seen = new Set<string>();
  readonly #freeBytes: number;
  #isKept = false;
  #bytes = 0;
  #waiting: (() => Promise<void>)[] = [];
  #file: FileHandle | undefined;

  private constructor(directory: string, limits: ArchiveLimits) {
    this.#limits = limits;
    this.#root = openSync(directory, pathDirectory);
    // Whatever takes the directory's place meanwhile, this one is written to.
    this.#directory = `/proc/self/fd/${this.#root}`;
    const { bavail, bsize } = statfsSync(directory);
    // Not the last of it: the node lives on this disk.
    this.#freeBytes = Math.floor(bavail * bsize * 0.9);
  }

  static async in(directory: string, limits: ArchiveLimits): Promise<ArchiveParts> {
    await mkdir(join(directory, archiveFiles.images), { mode: 0o700 });
    return new ArchiveParts(directory, limits);
  }

  begin(entry: TarEntry): void {
    const name = entry.name.replace(/^(?:\.\/)+/, '').replace(/\/+$/, '');
    if (name.startsWith('/') || name.split('/').includes('..') || name.includes('\0'))
      throw refused(`it has the name ${quote(entry.name)}`);
    if (entry.kind === 'directory') return;
    if (entry.kind !== 'file') throw refused(`${quote(name)} in it is a ${entry.kind}`);
    this.#isKept = this.#isPart(name, entry.contentBytes);
    if (!this.#isKept) return;
    if (this.#seen.has(name)) throw refused(`it has ${quote(name)} twice`);
    this.#seen.add(name);
    this.#take(entry.contentBytes, name);
    this.#waiting.push(async () => {
      this.#file = await open(join(this.#directory, name), 'wx', 0o600);
    });
  }

  data(chunk: Buffer, start: number, end: number, offset: number): void {
    if (this.#isKept) this.#waiting.push(async () => await this.#write(chunk.subarray(start, end), offset));
  }

  finish(): void {
    if (this.#isKept) this.#waiting.push(async () => await this.#close());
    this.#isKept = false;
  }

  /** Writes what has come since the last call; until it returns, the chunks that it came in must stay as they are. */
  async flush(): Promise<void> {
    const steps = this.#waiting;
    this.#waiting = [];
    for (const step of steps) await step();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    closeSync(this.#root);
  }

  async #write(bytes: Buffer, offset: number): Promise<void> {
    if (this.#file === undefined) throw new EngineError('internal', 'archive parts: data without a file');
    for (let at = 0; at < bytes.length;)
      at += (await this.#file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** Whether a file is one that is needed. */
  #isPart(name: string, bytes: number): boolean {
    const isDescription = name === archiveFiles.config || name === archiveFiles.deletedFiles;
    if (isDescription && bytes > this.#limits.maxDescriptionBytes)
      throw refused(`${quote(name)} in it has ${bytes} bytes`);
    if (isDescription || name === archiveFiles.rootChanges) return true;
    if (!name.startsWith(`${archiveFiles.images}/`)) return false;
    const image = name.slice(archiveFiles.images.length + 1);
    if (!imageName.test(image) || image === '.') throw refused(`it has the name ${quote(name)}`);
    return true;
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
