/** Removes layers and blobs that no image, no container and no running pull needs; repairs the store at start. */
import { messageOf } from '../lib/errors.ts';
import type { ChainId, Digest, ImageId } from '../lib/ids.ts';
import type { Images } from './images.ts';

type CollectDeps = Pick<Images, 'store' | 'content' | 'layers' | 'leases' | 'layerLocks' | 'chainIdsInUse'>;

export interface Collected {
  readonly layers: readonly ChainId[];
  readonly blobs: readonly Digest[];
  /** What could not be removed, and why; the next collection tries again. */
  readonly failures: readonly string[];
}

/** Safe at any time, beside pulls and removals. */
export async function collectGarbage(deps: CollectDeps): Promise<Collected> {
  const layers: ChainId[] = [];
  const blobs: Digest[] = [];
  const failures: string[] = [];
  const wanted = wantedLayers(deps);
  for (const { chainId } of deps.layers.list()) {
    if (wanted.has(chainId) || deps.leases.has(chainId)) continue;
    try {
      if (await removeLayer(deps, chainId)) layers.push(chainId);
    } catch (error) {
      failures.push(`remove layer ${chainId}: ${messageOf(error)}`);
    }
  }
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

/** Whether it was removed. Looks again under the layer's lock: a pull that took a lease meanwhile keeps it. */
async function removeLayer(deps: CollectDeps, chainId: ChainId): Promise<boolean> {
  return await deps.layerLocks.run(chainId, undefined, async () => {
    if (wantedLayers(deps).has(chainId) || deps.leases.has(chainId)) return false;
    await deps.layers.remove(chainId);
    return true;
  });
}

function wantedLayers(deps: CollectDeps): ReadonlySet<ChainId> {
  const wanted = new Set(deps.chainIdsInUse());
  for (const image of deps.store.list()) for (const { chainId } of image.layers) wanted.add(chainId);
  return wanted;
}
