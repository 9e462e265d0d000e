/** The images of this node: durable records, with indexes by id, tag and digest in memory. */
import { EngineError } from '../lib/errors.ts';
import { type Digest, type ImageId, isDigest, parseDigest, quote } from '../lib/ids.ts';
import type { RecordCollection, RecordDatabase } from '../lib/records.ts';
import type { Image, ImageRecord } from './image-record.ts';
import type { PinRule } from './pinning.ts';
import { digestReference, parseReference, tagReference } from './reference.ts';

const minPrefixLength = 3;

export class ImageStore {
  readonly #records: RecordCollection<ImageId, ImageRecord>;
  readonly #isPinned: PinRule;
  readonly #byName = new Map<string, ImageId>();
  /** Images whose records only another release can read: what they consist of is not known. */
  readonly unreadable: readonly string[];

  /** Loads the records. Where a crash left one tag on two images, the one pulled last keeps it. */
  constructor(database: RecordDatabase, isPinned: PinRule) {
    this.#records = database.collection<ImageId, ImageRecord>('images', 1, { survivesPowerLoss: true });
    this.#isPinned = isPinned;
    this.unreadable = database.rejected.flatMap(({ collection, id }) =>
      collection === 'images' ? [id] : [],
    );
    const oldestFirst = [...this.#records.values()].toSorted((a, b) => a.pulledAtMs - b.pulledAtMs);
    for (const record of oldestFirst) this.#index(record);
    for (const record of oldestFirst) this.#keepTags(record, (tag) => this.#byName.get(tag) === record.id);
  }

  list(): readonly Image[] {
    return [...this.#records.values()].map((record) => this.#toImage(record));
  }

  get(id: ImageId): Image | undefined {
    const record = this.#records.get(id);
    return record && this.#toImage(record);
  }

  /** Every blob that an image keeps. */
  blobs(): ReadonlySet<Digest> {
    return new Set([...this.#records.values()].flatMap((record) => record.blobs));
  }

  /** The blobs of one image: index, manifest, config. */
  blobsOf(id: ImageId): readonly Digest[] {
    return this.#records.get(id)?.blobs ?? [];
  }

  /** By a name exactly as it is stored: `name:tag` or `name@digest`, in full. */
  byName(name: string): Image | undefined {
    const id = this.#byName.get(name);
    return id && this.get(id);
  }

  /**
   * Adds an image, or the names of `record` to the image that is there already. Its tags leave the images that had
   * them; those stay, with their digests.
   */
  commit(record: ImageRecord): Image {
    const known = this.#records.get(record.id);
    const merged: ImageRecord =
      known === undefined
        ? record
        : {
            ...record,
            repoTags: union(known.repoTags, record.repoTags),
            repoDigests: union(known.repoDigests, record.repoDigests),
            blobs: union(known.blobs, record.blobs),
          };
    // First the new owner, then the old ones: a crash in between leaves a tag twice, never not at all.
    this.#records.put(merged.id, merged);
    this.#takeTags(merged);
    this.#index(merged);
    return this.#toImage(merged);
  }

  /** Forgets an image with all its names. Idempotent. */
  remove(id: ImageId): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    for (const name of [...record.repoTags, ...record.repoDigests]) {
      if (this.#byName.get(name) === id) this.#byName.delete(name);
    }
  }

  #takeTags(owner: ImageRecord): void {
    for (const other of this.#records.values()) {
      if (other.id !== owner.id) this.#keepTags(other, (tag) => !owner.repoTags.includes(tag));
    }
  }

  #keepTags(record: ImageRecord, keep: (tag: string) => boolean): void {
    const repoTags = record.repoTags.filter(keep);
    if (repoTags.length !== record.repoTags.length) this.#records.put(record.id, { ...record, repoTags });
  }

  #index(record: ImageRecord): void {
    for (const name of [...record.repoTags, ...record.repoDigests]) this.#byName.set(name, record.id);
  }

  #toImage(record: ImageRecord): Image {
    const { version: _, blobs: __, ...image } = record;
    return { ...image, pinned: this.#isPinned([...record.repoTags, ...record.repoDigests]) };
  }
}

/**
 * Finds an image by id (`sha256:...` or its digits), by any form of reference, or by the first digits of its id.
 * Text that is neither finds nothing.
 * @throws EngineError invalid-argument when a prefix fits several images
 */
export function resolveImage(store: ImageStore, text: string): Image | undefined {
  const digits = text.replace(/^sha(?:256|512):/, '');
  const id = isDigest(text) ? text : `sha256:${digits}`;
  if (isDigest(id)) {
    const image = store.get(parseDigest(id));
    if (image !== undefined) return image;
  }
  return byReference(store, text) ?? byPrefix(store, text);
}

function byReference(store: ImageStore, text: string): Image | undefined {
  try {
    const reference = parseReference(text);
    const name =
      reference.digest === undefined ? tagReference(reference) : digestReference(reference, reference.digest);
    return name === undefined ? undefined : store.byName(name);
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

function byPrefix(store: ImageStore, text: string): Image | undefined {
  const prefix = /^sha(?:256|512):/.test(text) ? text : `sha256:${text}`;
  const digits = prefix.slice(prefix.indexOf(':') + 1);
  if (digits.length < minPrefixLength || !/^[0-9a-f]+$/.test(digits)) return undefined;
  const found = store.list().filter((image) => image.id.startsWith(prefix));
  if (found.length > 1) {
    throw new EngineError(
      'invalid-argument',
      `image id ${quote(text)} is ambiguous: it fits ${found.length} images`,
    );
  }
  return found[0];
}

function union<T>(first: readonly T[], second: readonly T[]): readonly T[] {
  return [...new Set([...first, ...second])];
}
