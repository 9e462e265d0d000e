/**
 * The files of cgroups that are read again and again stay open: opening is four fifths of what reading a small one costs. Each
 * takes some four kilobytes of the kernel's memory meanwhile. A cgroup whose files are open can be removed all the same.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { unlessAbsent } from './files.ts';

export class KeptFiles implements Disposable {
  readonly #maxFiles: number;
  readonly #byOwner = new Map<string, Map<string, number>>();
  readonly #buffer = Buffer.allocUnsafeSlow(64 * 1024);
  #count = 0;

  /** Of more than `maxFiles` the others are opened each time that they are read. */
  constructor(maxFiles: number) {
    this.#maxFiles = maxFiles;
  }

  /** As `readText`. What stays open does so until it is closed for its owner. */
  readText(owner: string, directory: string | undefined, file: string): string | undefined {
    if (directory === undefined) return undefined;
    const files = this.#byOwner.get(owner) ?? new Map<string, number>();
    const path = `${directory}/${file}`;
    const kept = files.get(path);
    if (kept !== undefined) {
      try {
        return this.#read(kept);
      } catch {
        // The cgroup is gone. One that was made since under its name has other files.
        this.#close(files, path, kept);
      }
    }
    const fd = unlessAbsent(() => openSync(path, 'r'));
    if (fd === undefined) return undefined;
    files.set(path, fd);
    this.#byOwner.set(owner, files);
    this.#count += 1;
    try {
      return unlessAbsent(() => this.#read(fd));
    } finally {
      if (this.#count > this.#maxFiles) this.#close(files, path, fd);
    }
  }

  /** To be called when the owner's cgroup is not read any more. */
  close(owner: string): void {
    const files = this.#byOwner.get(owner) ?? new Map<string, number>();
    for (const [path, fd] of files) this.#close(files, path, fd);
    this.#byOwner.delete(owner);
  }

  [Symbol.dispose](): void {
    for (const owner of this.#byOwner.keys()) this.close(owner);
  }

  #close(files: Map<string, number>, path: string, fd: number): void {
    closeSync(fd);
    files.delete(path);
    this.#count -= 1;
  }

  /** From the start, the whole file: the kernel gives what fits the buffer in one piece. */
  #read(fd: number): string {
    const size = readSync(fd, this.#buffer, 0, this.#buffer.length, 0);
    return this.#buffer.toString('latin1', 0, size).trim();
  }
}
