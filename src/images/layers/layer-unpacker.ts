import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Poller } from '../../linux/poll.ts';
import { Decompression, decompressorFor, type DecompressorName } from './decompressor.ts';
import type { TarFeed } from './layer-feed.ts';
import type { UnpackJob } from './layer-jobs.ts';
import { layerDirectoryName, type LayerRecord, readLayerRecord } from './layer-record.ts';
import {
  defaultLayerLimits,
  type LayerLimits,
  type UnpackedLayer,
  type UnpackRequest,
} from './layer-types.ts';
import { LayerWorkers } from './layer-workers.ts';

/** Directories of unfinished layers begin so; what is found at a start is swept. */
export const ingestPrefix = 'ingest-';

/** Programs that decompress what is downloaded, where they are installed. */
export interface DecompressionPrograms {
  readonly allowed: readonly DecompressorName[];
  readonly poller: Poller;
}

/**
 * Turns compressed layers into directories by chain id, in worker threads, while they are still being downloaded.
 * Layers of an image may be unpacked in any order and at once.
 */
export class LayerUnpacker implements AsyncDisposable {
  readonly #workers: LayerWorkers;
  readonly #snapshotsDirectory: string;
  readonly #limits: LayerLimits;

  readonly #programs: DecompressionPrograms | undefined;

  /** `snapshotRoot` is the directory that holds `snapshots/` and `containers/`, on one file system. */
  constructor(options: {
    readonly maxWorkers: number;
    readonly snapshotRoot: string;
    readonly limits?: Partial<LayerLimits>;
    /** Without them all is decompressed by Node. */
    readonly programs?: DecompressionPrograms;
    readonly idleMs?: number;
  }) {
    this.#workers = new LayerWorkers(options);
    this.#snapshotsDirectory = join(options.snapshotRoot, 'snapshots');
    this.#limits = { ...defaultLayerLimits, ...options.limits };
    this.#programs = options.programs;
    mkdirSync(this.#snapshotsDirectory, { recursive: true, mode: 0o700 });
  }

  /**
   * Unpacks one layer. When this resolves it is whole, verified against its DiffID, and on the disk under its name;
   * when it rejects nothing is left of it. A layer that is there already is not read again.
   *
   * Does not promise that the same layer is not unpacked twice at once: that is the caller's single flight (the
   * second commit then finds the first one's and takes it).
   * @throws EngineError naming the DiffID (data-loss, invalid-argument, resource-exhausted, unimplemented, internal);
   * the source's own error; the signal's reason
   */
  async unpack(request: UnpackRequest): Promise<UnpackedLayer> {
    request.signal.throwIfAborted();
    const present = readLayerRecord(join(this.#snapshotsDirectory, layerDirectoryName(request.chainId)));
    if (present !== undefined) {
      if (!('path' in request.source)) await request.source[Symbol.asyncIterator]().return?.();
      return unpackedOf(present);
    }
    const job = {
      name: 'unpack',
      snapshotsDirectory: this.#snapshotsDirectory,
      ingestName: ingestPrefix + randomBytes(12).toString('hex'),
      chainId: request.chainId,
      expectedDiffId: request.expectedDiffId,
      mediaType: request.mediaType,
      path: 'path' in request.source ? request.source.path : undefined,
      limits: this.#limits,
    } as const;
    try {
      return unpackedOf(await this.#run(job, request));
    } catch (error) {
      await this.#clearAfterDeath(job.ingestName);
      throw error;
    }
  }

  async #run(job: UnpackJob, { source, signal }: UnpackRequest): Promise<LayerRecord> {
    if ('path' in source) return await this.#workers.run(job, { signal });
    const openFeed = (): TarFeed | undefined => this.#openFeed(job);
    return await this.#workers.run(job, { source, openFeed, signal });
  }

  /** Undefined leaves the layer to Node: also where the node is out of descriptors or processes, of which Node needs fewer. */
  #openFeed(job: UnpackJob): TarFeed | undefined {
    if (this.#programs === undefined) return undefined;
    const decompressor = decompressorFor(job.mediaType, this.#programs.allowed);
    if (decompressor === undefined) return undefined;
    try {
      const about = `unpack the layer ${job.expectedDiffId}: `;
      return Decompression.start(this.#programs.poller, { ...decompressor, about });
    } catch {
      return undefined;
    }
  }

  /** A worker undoes what it did, unless it died. What cannot be cleared now is swept at the next start. */
  async #clearAfterDeath(ingestName: string): Promise<void> {
    if (!existsSync(join(this.#snapshotsDirectory, ingestName))) return;
    const job = { name: 'remove', directory: this.#snapshotsDirectory, entries: [ingestName] } as const;
    await this.#workers.run(job).catch(() => undefined);
  }

  /** Ends all threads; what is being unpacked is undone first and rejects as unavailable. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#workers[Symbol.asyncDispose]();
  }
}

function unpackedOf(record: LayerRecord): UnpackedLayer {
  return { diffId: record.diffId, sizeBytes: record.sizeBytes, inodes: record.inodes };
}
