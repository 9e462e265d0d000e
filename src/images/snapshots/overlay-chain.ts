/** From a chain of layers to what overlayfs is given. */
import { EngineError } from '../../lib/errors.ts';
import type { ChainId } from '../../lib/ids.ts';
import { join } from 'node:path';
import { layerDirectoryName } from '../layers/layer-record.ts';
import { withMappedLayers } from './mapped-layers.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import type { MappedIds } from './snapshot-types.ts';

/**
 * Features that would let an upper directory refer to other directories, or tie it to one mount, are off whatever
 * the kernel's default is.
 */
export const overlayOptions = ['index=off', 'redirect_dir=off', 'metacopy=off'] as const;

/** What of a chain overlayfs is to be given. */
interface LowerDirsRequest {
  readonly chainIds: readonly ChainId[];
  readonly ids: MappedIds | undefined;
  /** Directories that there must be at least. */
  readonly minimum: 1 | 2;
}

/** Mounts something over the lower directories of a chain, seen with the ids that are asked for. */
export function mountOver(
  store: SnapshotStore,
  request: LowerDirsRequest,
  mount: (lowerDirs: readonly string[]) => void,
): void {
  const { ids } = request;
  if (ids === undefined) mount(lowerDirsOf(store, request, store.layersDirectory));
  else
    withMappedLayers(store, ids.userNamespace, (directory) => mount(lowerDirsOf(store, request, directory)));
}

/**
 * The lower directories of a chain, top first; the layers must be settled. A layer that hides all below it ends the
 * list (overlayfs merges roots whatever their attributes say). At least `minimum`.
 */
function lowerDirsOf(
  store: SnapshotStore,
  { chainIds, minimum }: LowerDirsRequest,
  layersDirectory: string,
): string[] {
  const lowerDirs: string[] = [];
  for (const chainId of chainIds.toReversed()) {
    lowerDirs.push(join(layersDirectory, layerDirectoryName(chainId), 'fs'));
    if (store.layer(chainId)?.isRootOpaque === true) break;
  }
  const missing = Math.max(0, minimum - lowerDirs.length);
  return [...lowerDirs, ...store.emptyDirectories.slice(0, missing)];
}

/** The directory whose look the root directory of the chain has, if a layer describes it. */
export function rootModelOf(store: SnapshotStore, chainIds: readonly ChainId[]): string | undefined {
  const describing = chainIds.findLast((chainId) => store.layer(chainId)?.describesRoot === true);
  return describing === undefined ? undefined : join(store.layerDirectory(describing), 'fs');
}

/**
 * Makes sure that all layers are there and fit together. Mostly a look into memory.
 * @throws EngineError not-found naming the missing layer
 */
export async function readyChain(store: SnapshotStore, chainIds: readonly ChainId[]): Promise<void> {
  let isSettled = true;
  for (const chainId of chainIds) {
    const record = store.layer(chainId);
    if (record === undefined) throw new EngineError('not-found', `the layer ${chainId} is not on this node`);
    isSettled &&= record.impliedDirectories.length === 0;
  }
  if (isSettled) return;
  const layerDirectories = chainIds.map((chainId) => store.layerDirectory(chainId));
  // One thread serves this store, so that no two settle the same layer at once.
  await store.workers.run({ name: 'settle', layerDirectories });
  for (const chainId of chainIds) store.forgetLayer(chainId);
}

/** Runs `work` while the layers of the chain cannot be collected. */
export async function holdingChain<T>(
  store: SnapshotStore,
  chainIds: readonly ChainId[],
  work: () => Promise<T>,
): Promise<T> {
  // An object of its own: two calls may hold the same array.
  const held = [...chainIds];
  store.pendingChains.add(held);
  try {
    return await work();
  } finally {
    store.pendingChains.delete(held);
  }
}
