/**
 * Snapshots: layers unpacked once and shared by chain id, and a writable overlay over them for each container.
 *
 *   <root>/snapshots/<chain hex>/{fs,layer.json}      a layer, whole
 *   <root>/snapshots/ingest-<random>                  a layer that is being unpacked
 *   <root>/containers/<id>/{upper,work,rootfs,snapshot.json}
 *   <root>/image-mounts/<hash of the target>.json     a read-only mount of an image
 *   <root>/trash/<random>                             what is being deleted
 *
 * Directories come into being and go by one rename each, so a crash leaves nothing half made under a name that counts.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { Deadline } from '../../lib/deadline.ts';
import { EngineError, errnoOf } from '../../lib/errors.ts';
import type { ChainId, ContainerId } from '../../lib/ids.ts';
import { KeyedLock, untilAborted } from '../../lib/keyed-lock.ts';
import type { PathWorkers } from '../../linux/path-worker.ts';
import { layerDirectoryName, type LayerRecord, readLayerRecord } from '../layers/layer-record.ts';
import { LayerWorkers } from '../layers/layer-workers.ts';
import type { MeasuredUsage } from './snapshot-types.ts';

interface SnapshotStoreOptions {
  /** On a file system that can carry an overlay's upper directory. Made if it is missing, 0700. */
  readonly root: string;
  /** For unmounts: they write back the file system, and may hang. */
  readonly paths: Pick<PathWorkers, 'call'>;
  /** Hears of what failed in the background (deleting trash); nothing depends on it. */
  readonly onError: (error: unknown) => void;
  /** How old a usage may be before it is measured again. Default 15 s. */
  readonly usageMaxAgeMs?: number;
  /** How long a stop waits for what is being deleted. Default 2 s: enough for a container's files, not for gigabytes. */
  readonly deletionGraceMs?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

export class SnapshotStore implements AsyncDisposable {
  readonly root: string;
  readonly layersDirectory: string;
  readonly containersDirectory: string;
  readonly imageMountsDirectory: string;
  readonly trashDirectory: string;
  /** Lie below all layers where overlayfs wants more directories than an image has. */
  readonly emptyDirectories: readonly [string, string];
  readonly paths: Pick<PathWorkers, 'call'>;
  readonly onError: (error: unknown) => void;
  readonly usageMaxAgeMs: number;
  readonly #deletionGraceMs: number;
  readonly now: () => number;
  readonly workers = new LayerWorkers({ maxWorkers: 1 });
  readonly locks = new KeyedLock<ContainerId>();
  /** Chains that a call is about to mount: not yet to be seen on disk, but not to be collected. */
  readonly pendingChains = new Set<readonly ChainId[]>();
  readonly usages = new Map<ContainerId, MeasuredUsage>();
  readonly measuring = new Map<ContainerId, Promise<MeasuredUsage>>();
  readonly #layers = new Map<ChainId, LayerRecord>();
  /** Threads of their own: nobody waits behind gigabytes that are being deleted. */
  readonly #removers = new LayerWorkers({ maxWorkers: 1 });
  readonly #deletions = new Set<Promise<void>>();
  #isClosing = false;

  constructor(options: SnapshotStoreOptions) {
    this.root = options.root;
    this.layersDirectory = join(options.root, 'snapshots');
    this.containersDirectory = join(options.root, 'containers');
    this.imageMountsDirectory = join(options.root, 'image-mounts');
    this.trashDirectory = join(options.root, 'trash');
    this.emptyDirectories = [join(options.root, 'empty', 'a'), join(options.root, 'empty', 'b')];
    this.paths = options.paths;
    this.onError = options.onError;
    this.usageMaxAgeMs = options.usageMaxAgeMs ?? 15_000;
    this.#deletionGraceMs = options.deletionGraceMs ?? 2000;
    this.now = options.now ?? Date.now;
    mkdirSync(this.root, { recursive: true, mode: 0o700 });
    const { layersDirectory, containersDirectory, imageMountsDirectory, trashDirectory } = this;
    for (const path of [layersDirectory, containersDirectory, imageMountsDirectory, trashDirectory]) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
    }
    for (const path of this.emptyDirectories) mkdirSync(path, { recursive: true, mode: 0o755 });
  }

  layerDirectory(chainId: ChainId): string {
    return join(this.layersDirectory, layerDirectoryName(chainId));
  }

  /** The record of a layer, if it is there. @throws EngineError data-loss if it cannot be read */
  layer(chainId: ChainId): LayerRecord | undefined {
    const known = this.#layers.get(chainId);
    if (known !== undefined) return known;
    const record = readLayerRecord(this.layerDirectory(chainId));
    if (record !== undefined) this.#layers.set(chainId, record);
    return record;
  }

  /** The disk is asked again next time. */
  forgetLayer(chainId: ChainId): void {
    this.#layers.delete(chainId);
  }

  /** Takes a directory out of its place at once, and deletes it in the background. False if it is not there. */
  discard(path: string): boolean {
    const entry = randomBytes(12).toString('hex');
    try {
      renameSync(path, join(this.trashDirectory, entry));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw EngineError.from(error);
    }
    this.deleteTrash([entry]);
    return true;
  }

  /** Deletes entries of the trash in the background; what cannot be deleted is left for the next start. */
  deleteTrash(entries: readonly string[]): void {
    const deletion = this.#removers
      .run({ name: 'remove', directory: this.trashDirectory, entries })
      .then(
        () => undefined,
        (error: unknown) => void (this.#isClosing || this.onError(error)),
      )
      .finally(() => this.#deletions.delete(deletion));
    this.#deletions.add(deletion);
  }

  /** Resolves when what was discarded so far is deleted. */
  async deleted(): Promise<void> {
    await Promise.allSettled(this.#deletions);
  }

  /** Breaks off what is not deleted soon: the next start goes on with it. Mounts stay: containers live on without the daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    using grace = new Deadline(this.#deletionGraceMs);
    await untilAborted(this.deleted(), grace.signal).catch(() => undefined);
    this.#isClosing = true;
    await this.#removers.breakOff();
    await this.workers[Symbol.asyncDispose]();
  }
}
