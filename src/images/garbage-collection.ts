/** Removes layers and blobs that no image, no running pull and (the snapshot side knows) no container needs; repairs the store at start. */
import { messageOf } from '../lib/errors.ts';
import type { ChainId, Digest, ImageId } from '../lib/ids.ts';
import type { Images } from './images.ts';

type CollectDeps = Pick<Images, 'store' | 'content' | 'layers' | 'leases'>;

export interface Collected {
  readonly layers: readonly ChainId[];
  readonly blobs: readonly Digest[];
  /** What could not be removed, and why; the next collection tries again. */
  readonly failures: readonly string[];
}

/** Safe at any time, beside pulls and removals. Nothing is collected while what is garbage cannot be known. */
export async function collectGarbage(deps: CollectDeps): Promise<Collected> {
  const failures: string[] = [];
  const { unreadable } = deps.store;
  if (unreadable.length > 0) {
    failures.push(`layers and blobs stay: the records of ${unreadable.join(', ')} cannot be read`);
    return { layers: [], blobs: [], failures };
  }
  const layers = collectLayers(deps, failures);
  const blobs: Digest[] = [];
  for (const digest of deps.content.digests()) {
    const isWanted = (): boolean => deps.leases.has(digest) || deps.store.blobs().has(digest);
    try {
      if (await deps.content.removeUnless(digest, isWanted)) blobs.push(digest);
    } catch (error) {
      failures.push(`remove blob ${digest}: ${messageOf(error)}`);
    }
  }
  return { layers, blobs, failures };
}

/** An image that was dropped at start. */
export interface DroppedImage {
  readonly id: ImageId;
  readonly names: readonly string[];
  readonly reason: string;
}

/**
 * Compares records with the disk, once at start and before any operation: an image that lost a layer or a blob is
 * dropped (the kubelet pulls it again), then everything that nothing refers to is removed.
 */
export async function recoverImages(
  deps: CollectDeps,
): Promise<{ readonly dropped: readonly DroppedImage[]; readonly collected: Collected }> {
  const dropped: DroppedImage[] = [];
  for (const image of deps.store.list()) {
    const layer = image.layers.find(({ chainId }) => deps.layers.get(chainId) === undefined);
    const blob = deps.store.blobsOf(image.id).find((digest) => !deps.content.has(digest));
    if (layer === undefined && blob === undefined) continue;
    const reason = layer === undefined ? `blob ${blob} is missing` : `layer ${layer.chainId} is missing`;
    deps.store.remove(image.id);
    dropped.push({ id: image.id, names: [...image.repoTags, ...image.repoDigests], reason });
  }
  return { dropped, collected: await collectGarbage(deps) };
}

function collectLayers(deps: CollectDeps, failures: string[]): readonly ChainId[] {
  const keep = new Set<ChainId>(deps.leases.held());
  for (const image of deps.store.list()) for (const { chainId } of image.layers) keep.add(chainId);
  try {
    return deps.layers.collect(keep).map(({ chainId }) => chainId);
  } catch (error) {
    failures.push(`remove layers: ${messageOf(error)}`);
    return [];
  }
}
