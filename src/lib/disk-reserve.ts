import { closeSync, fsyncSync, openSync, rmSync, statSync, writeSync } from 'node:fs';

const chunkBytes = 1024 * 1024;

/** Space that is kept on a file system for the day when it is full: given up once, and taken again when there is room. */
export class DiskReserve {
  readonly #path: string;
  readonly #sizeBytes: number;
  #isHeld = false;

  constructor(path: string, sizeBytes: number) {
    this.#path = path;
    this.#sizeBytes = sizeBytes;
  }

  /** Takes the space if it is not held. False if there is no room for it. */
  hold(): boolean {
    this.#isHeld ||= this.#isThere() || this.#write();
    return this.#isHeld;
  }

  /** Gives up the space. False if it was not held. */
  release(): boolean {
    const wasHeld = this.#isHeld;
    this.#isHeld = false;
    rmSync(this.#path, { force: true });
    return wasHeld;
  }

  #isThere(): boolean {
    return (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) >= this.#sizeBytes;
  }

  #write(): boolean {
    try {
      const fd = openSync(this.#path, 'w', 0o600);
      try {
        const chunk = Buffer.alloc(chunkBytes);
        for (let bytes = 0; bytes < this.#sizeBytes; bytes += writeSync(fd, chunk));
        // A file system that allocates late says here that there is no room.
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      return true;
    } catch {
      rmSync(this.#path, { force: true });
      return false;
    }
  }
}
