/** A layer store in memory for tests of pulls: it verifies like the real one, but keeps sizes instead of files. */
import { createHash } from 'node:crypto';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { EngineError } from '../../lib/errors.ts';
import type { ChainId } from '../../lib/ids.ts';
import type { LayerStore } from '../images.ts';
import type { UnpackedLayer, UnpackRequest } from '../layers/layer-types.ts';
import { layerCompression } from '../media-types.ts';
import type { StoredLayer } from '../snapshots/snapshot-types.ts';

export class MemoryLayers implements LayerStore {
  readonly #layers = new Map<ChainId, StoredLayer>();
  /** Every unpack that was begun. */
  readonly unpacked: ChainId[] = [];
  /** Awaited after the bytes came and before the commit. */
  beforeCommit: (chainId: ChainId) => Promise<void> = () => Promise.resolve();

  get(chainId: ChainId): StoredLayer | undefined {
    return this.#layers.get(chainId);
  }

  list(): Iterable<StoredLayer> {
    return this.#layers.values();
  }

  async unpack(request: UnpackRequest): Promise<UnpackedLayer> {
    const { source, chainId, expectedDiffId: diffId, signal } = request;
    this.unpacked.push(chainId);
    if ('path' in source) throw new Error('a stream is expected');
    const chunks: Uint8Array[] = [];
    for await (const chunk of source) chunks.push(chunk);
    const tar = decompress(Buffer.concat(chunks), request.mediaType);
    const actual = `sha256:${createHash('sha256').update(tar).digest('hex')}`;
    if (actual !== diffId) {
      throw new EngineError('data-loss', `DiffID mismatch: expected ${diffId}, got ${actual}`);
    }
    await this.beforeCommit(chainId);
    signal.throwIfAborted();
    this.#layers.set(chainId, { chainId, diffId, bytes: tar.length, inodes: 1 });
    return { diffId, sizeBytes: tar.length, inodes: 1 };
  }

  remove(chainId: ChainId): Promise<void> {
    this.#layers.delete(chainId);
    return Promise.resolve();
  }
}

function decompress(bytes: Buffer, mediaType: string): Buffer {
  const compression = layerCompression(mediaType);
  if (compression === 'gzip') return gunzipSync(bytes);
  return compression === 'zstd' ? zstdDecompressSync(bytes) : bytes;
}
