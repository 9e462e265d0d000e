/** The words of the layer side: what an unpack is asked for, what it gives, and where it stops believing a layer. */
import type { ChainId, DiffId } from '../../lib/ids.ts';

/** Compressed bytes: as they are downloaded, or a file that the worker reads by itself. */
export type LayerSource = AsyncIterable<Uint8Array> | { readonly path: string };

/** One layer to unpack. */
export interface UnpackRequest {
  /** An iterable is read to its end, or closed (`return()`) when the unpack fails or is aborted. */
  readonly source: LayerSource;
  /** Of the descriptor. What the bytes begin with must agree with it. */
  readonly mediaType: string;
  readonly chainId: ChainId;
  /** The layers below, bottom first, the direct parent last. They need not be unpacked yet. */
  readonly parentChainIds: readonly ChainId[];
  /** From the image's config. */
  readonly expectedDiffId: DiffId;
  readonly signal: AbortSignal;
}

/** What an unpacked layer takes on disk, as recorded in its `layer.json`. */
export interface UnpackedLayer {
  readonly diffId: DiffId;
  /** Allocated bytes (blocks), hard links counted once. */
  readonly sizeBytes: number;
  readonly inodes: number;
}

/** Bounds on what one layer may ask of this node. A layer beyond one is refused as invalid-argument. */
export interface LayerLimits {
  /** Length of the uncompressed tar. */
  readonly maxTarBytes: number;
  /** What the files would hold, sparse ones at their full length. */
  readonly maxContentBytes: number;
  readonly maxEntries: number;
  /** Length of one name or link target in bytes: the kernel's PATH_MAX, less its NUL. */
  readonly maxNameBytes: number;
  /** All PAX records of one header, and of one GNU long name. */
  readonly maxHeaderBytes: number;
  /** Ranges of data in one sparse file (CVE-2025-58183). */
  readonly maxSparseRanges: number;
}

/** What is used where nothing else is said. */
export const defaultLayerLimits: LayerLimits = {
  maxTarBytes: 256 * 1024 ** 3,
  maxContentBytes: 1024 ** 4,
  maxEntries: 4_000_000,
  maxNameBytes: 4095,
  maxHeaderBytes: 1024 ** 2,
  maxSparseRanges: 65_536,
};
