/** The unpacked layers on disk, known in memory: what is there, what it takes, and its coming and going. */
import type { ChainId } from '../lib/ids.ts';
import type { UnpackedLayer, UnpackRequest } from './layers/layer-types.ts';
import type { StoredLayer } from './snapshots/snapshot-types.ts';

/** The side that owns the directories, as this side needs it. */
export interface LayerBackend {
  /** Reads the disk. */
  list(): readonly StoredLayer[];
  /** Unpacks and commits. Nothing is left of an unpack that fails. */
  unpack(request: UnpackRequest): Promise<UnpackedLayer>;
  /** Removes, before it returns, the layers that are neither in `keep` nor needed by a container or a mount. */
  collect(keep: ReadonlySet<ChainId>): readonly StoredLayer[];
}

export class LayerIndex {
  readonly #backend: LayerBackend;
  #layers: Map<ChainId, StoredLayer>;

  /** Reads the disk once. */
  constructor(backend: LayerBackend) {
    this.#backend = backend;
    this.#layers = byChainId(backend.list());
  }

  get(chainId: ChainId): StoredLayer | undefined {
    return this.#layers.get(chainId);
  }

  list(): readonly StoredLayer[] {
    return [...this.#layers.values()];
  }

  /** @throws what the backend throws */
  async unpack(request: UnpackRequest): Promise<void> {
    const { diffId, sizeBytes, inodes } = await this.#backend.unpack(request);
    this.#layers.set(request.chainId, { chainId: request.chainId, diffId, bytes: sizeBytes, inodes });
  }

  /**
   * Synchronous on purpose: between the making of `keep` and the removal no pull can come to rely on a layer.
   * @returns what was removed @throws what the backend throws; the index then is what the disk is
   */
  collect(keep: ReadonlySet<ChainId>): readonly StoredLayer[] {
    try {
      const removed = this.#backend.collect(keep);
      for (const { chainId } of removed) this.#layers.delete(chainId);
      return removed;
    } catch (error) {
      this.#layers = byChainId(this.#backend.list());
      throw error;
    }
  }
}

function byChainId(layers: readonly StoredLayer[]): Map<ChainId, StoredLayer> {
  return new Map(layers.map((layer) => [layer.chainId, layer]));
}
