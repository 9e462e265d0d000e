/** A layer store in memory for tests of pulls: it verifies like the real one, but keeps sizes instead of files. */
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { ChainId } from '../../lib/ids.ts';
import { checkDigest } from '../digest.ts';
import type { LayerBackend } from '../layer-index.ts';
import type { UnpackedLayer, UnpackRequest } from '../layers/layer-types.ts';
import { layerCompression } from '../media-types.ts';
import type { StoredLayer } from '../snapshots/snapshot-types.ts';

export class MemoryLayers implements LayerBackend {
  readonly #layers = new Map<ChainId, StoredLayer>();
  /** Every unpack that was begun. */
  readonly unpacked: ChainId[] = [];
  /** Layers that pretended containers stand on. */
  readonly inUse = new Set<ChainId>();
  /** Awaited after the bytes came and before the commit. */
  beforeCommit: (chainId: ChainId) => Promise<void> = () => Promise.resolve();

  list(): readonly StoredLayer[] {
    return [...this.#layers.values()];
  }

  async unpack(request: UnpackRequest): Promise<UnpackedLayer> {
    const { source, chainId, expectedDiffId: diffId, signal } = request;
    this.unpacked.push(chainId);
    if ('path' in source) throw new Error('a stream is expected');
    const chunks: Uint8Array[] = [];
    for await (const chunk of source) chunks.push(chunk);
    const tar = decompress(Buffer.concat(chunks), request.mediaType);
    checkDigest(tar, diffId, 'DiffID');
    await this.beforeCommit(chainId);
    signal.throwIfAborted();
    this.#layers.set(chainId, { chainId, diffId, bytes: tar.length, inodes: 1 });
    return { diffId, sizeBytes: tar.length, inodes: 1 };
  }

  collect(keep: ReadonlySet<ChainId>): readonly StoredLayer[] {
    const removed = this.list().filter(({ chainId }) => !keep.has(chainId) && !this.inUse.has(chainId));
    for (const { chainId } of removed) this.lose(chainId);
    return removed;
  }

  /** As if the disk had lost it. */
  lose(chainId: ChainId): void {
    this.#layers.delete(chainId);
  }
}

function decompress(bytes: Buffer, mediaType: string): Buffer {
  const compression = layerCompression(mediaType);
  if (compression === 'gzip') return gunzipSync(bytes);
  return compression === 'zstd' ? zstdDecompressSync(bytes) : bytes;
}
