/**
 * Manifests, indexes and configs by digest, below `<root>/blobs/<algorithm>/<hex>`. Layers are not kept here: their
 * bytes go straight into the unpacker, so a node holds each layer once. What has its final name is complete: a blob
 * is written under `<root>/ingest`, synced and renamed, and what a crash left there is swept at start.
 */
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { type Digest, isDigest, parseDigest } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import { checkDigest } from './digest.ts';

export class ContentStore {
  readonly #root: string;
  readonly #sizes: Map<Digest, number>;
  readonly #locks = new KeyedLock<Digest>();

  private constructor(root: string, sizes: Map<Digest, number>) {
    this.#root = root;
    this.#sizes = sizes;
  }

  /** Makes the directories (0700), sweeps unfinished blobs, and learns what is there. */
  static async open(root: string): Promise<ContentStore> {
    await rm(join(root, 'ingest'), { recursive: true, force: true });
    await mkdir(join(root, 'ingest'), { recursive: true, mode: 0o700 });
    const sizes = new Map<Digest, number>();
    for (const algorithm of ['sha256', 'sha512']) {
      const directory = join(root, 'blobs', algorithm);
      await mkdir(directory, { recursive: true, mode: 0o700 });
      for (const name of await readdir(directory)) {
        const text = `${algorithm}:${name}`;
        if (isDigest(text)) sizes.set(parseDigest(text), (await stat(join(directory, name))).size);
      }
    }
    return new ContentStore(root, sizes);
  }

  has(digest: Digest): boolean {
    return this.#sizes.has(digest);
  }

  digests(): readonly Digest[] {
    return [...this.#sizes.keys()];
  }

  /** Bytes and files held. */
  get usage(): { readonly bytes: number; readonly inodes: number } {
    let bytes = 0;
    for (const size of this.#sizes.values()) bytes += size;
    return { bytes, inodes: this.#sizes.size };
  }

  /** The bytes, verified, or undefined when there are none. A blob that the disk damaged is removed and not there. */
  async read(digest: Digest): Promise<Buffer | undefined> {
    if (!this.#sizes.has(digest)) return undefined;
    try {
      const bytes = await readFile(this.#path(digest));
      checkDigest(bytes, digest, 'stored blob');
      return bytes;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && !(error instanceof EngineError))
        throw storeError('read', digest, error);
      await this.removeUnless(digest, () => false);
      return undefined;
    }
  }

  /**
   * Durable when it returns. The bytes must be those of the digest.
   * @throws EngineError data-loss when they are not, resource-exhausted when the disk is full
   */
  async write(digest: Digest, bytes: Buffer): Promise<void> {
    checkDigest(bytes, digest, 'blob to store');
    await this.#locks.run(digest, undefined, () => this.#ingest(digest, bytes));
  }

  /** Removes a blob unless `isWanted` says so when its turn has come; true when it was removed. Idempotent. */
  async removeUnless(digest: Digest, isWanted: () => boolean): Promise<boolean> {
    return await this.#locks.run(digest, undefined, async () => {
      if (isWanted()) return false;
      await rm(this.#path(digest), { force: true });
      return this.#sizes.delete(digest);
    });
  }

  async #ingest(digest: Digest, bytes: Buffer): Promise<void> {
    if (this.#sizes.has(digest)) return;
    const temporary = join(this.#root, 'ingest', randomBytes(8).toString('hex'));
    try {
      await writeDurably(temporary, bytes);
      await rename(temporary, this.#path(digest));
      await syncDirectory(join(this.#path(digest), '..'));
    } catch (error) {
      await rm(temporary, { force: true });
      throw storeError('store', digest, error);
    }
    this.#sizes.set(digest, bytes.length);
  }

  #path(digest: Digest): string {
    const [algorithm = '', hex = ''] = digest.split(':');
    return join(this.#root, 'blobs', algorithm, hex);
  }
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(path, flags, 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function storeError(verb: string, digest: Digest, error: unknown): EngineError {
  const { kind } = EngineError.from(error);
  return new EngineError(kind, `${verb} blob ${digest}: ${messageOf(error)}`, { cause: error });
}
