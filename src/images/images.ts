/**
 * Images: pulled from registries, kept by the digest of their config, shared layer by layer. This file builds what
 * the operations of this folder (`pull.ts`, `remove.ts`, ...) work on; `daemon.ts` makes one of it.
 */
import type { ChainId } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import type { RecordDatabase } from '../lib/records.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { SingleFlight } from '../lib/single-flight.ts';
import { ContentStore } from './content-store.ts';
import type { Image } from './image-record.ts';
import { type LayerBackend, LayerIndex } from './layer-index.ts';
import { Leases } from './leases.ts';
import { pinRule } from './pinning.ts';
import { AgentPool } from './registry/agent-pool.ts';
import type { Environment } from './registry/proxy.ts';
import { defaultRetryPolicy, type RetryPolicy } from './registry/retry.ts';
import { ImageStore } from './store.ts';

export interface ImagesOptions {
  /** `/var/lib/gantry/images`. */
  readonly root: string;
  readonly database: RecordDatabase;
  readonly layers: LayerBackend;
  /** Where `<host>/hosts.toml` is looked for, first match wins. */
  readonly certsRoots: readonly string[];
  readonly environment: Environment;
  readonly pinnedImages: readonly string[];
  /** At once, over all pulls. */
  readonly maxDownloads: number;
  /** At once, in one pull. */
  readonly maxDownloadsPerPull: number;
  readonly pullProgressTimeoutMs: number;
  readonly retry?: RetryPolicy;
}

/** What the operations on images share. */
export interface Images extends Disposable {
  readonly root: string;
  readonly store: ImageStore;
  readonly content: ContentStore;
  readonly layers: LayerIndex;
  readonly leases: Leases;
  readonly pool: AgentPool;
  readonly certsRoots: readonly string[];
  readonly retry: RetryPolicy;
  readonly pullProgressTimeoutMs: number;
  readonly maxDownloadsPerPull: number;
  readonly downloads: Semaphore;
  /** By reference, platform and credentials. */
  readonly pulls: SingleFlight<string, Image>;
  readonly unpacks: SingleFlight<ChainId, void>;
  /** A flight that was given up may still be clearing away what the next one wants to make. */
  readonly layerLocks: KeyedLock<ChainId>;
}

/**
 * Opens the stores. Call `recoverImages` before the first operation.
 * @throws EngineError invalid-argument for a pinned image that is no reference
 */
export async function openImages(options: ImagesOptions): Promise<Images> {
  const store = new ImageStore(options.database, pinRule(options.pinnedImages));
  const content = await ContentStore.open(options.root);
  const pool = new AgentPool(options.environment);
  return {
    root: options.root,
    store,
    content,
    layers: new LayerIndex(options.layers),
    leases: new Leases(),
    pool,
    certsRoots: options.certsRoots,
    retry: options.retry ?? defaultRetryPolicy,
    pullProgressTimeoutMs: options.pullProgressTimeoutMs,
    maxDownloadsPerPull: options.maxDownloadsPerPull,
    downloads: new Semaphore(options.maxDownloads),
    pulls: new SingleFlight(),
    unpacks: new SingleFlight(),
    layerLocks: new KeyedLock(),
    [Symbol.dispose]: () => pool[Symbol.dispose](),
  };
}
