/** The layers on disk: which there are, what they take, and which nothing needs any more. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError } from '../../lib/errors.ts';
import type { ChainId } from '../../lib/ids.ts';
import { ingestPrefix } from '../layers/layer-unpacker.ts';
import { layerDirectoryName, readLayerRecord } from '../layers/layer-record.ts';
import { listImageMounts } from './image-mounts.ts';
import { sweepMappedLayers } from './mapped-layers.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import type { StoredLayer } from './snapshot-types.ts';
import { listSnapshots, unfinishedPrefix } from './snapshots.ts';

/** All layers on disk. One that cannot be read is told to `onError` and left out. */
export function listLayers(store: SnapshotStore): StoredLayer[] {
  const layers: StoredLayer[] = [];
  for (const name of readdirSync(store.layersDirectory)) {
    if (name.startsWith(ingestPrefix)) continue;
    try {
      const record = readLayerRecord(join(store.layersDirectory, name));
      if (record === undefined)
        throw new EngineError('data-loss', `${name} in ${store.layersDirectory} is no layer`);
      const { chainId, diffId, sizeBytes, inodes } = record;
      layers.push({ chainId, diffId, bytes: sizeBytes, inodes });
    } catch (error) {
      store.onError(error);
    }
  }
  return layers;
}

/**
 * Removes the layers that are neither in `keep` nor below a snapshot or a mounted image. The caller keeps what its
 * images and its running pulls need. The space is free once the background has deleted them.
 * @returns what was removed
 */
export function collectLayers(store: SnapshotStore, keep: ReadonlySet<ChainId>): StoredLayer[] {
  const used = usedChainIds(store);
  for (const chain of store.pendingChains) for (const chainId of chain) used.add(chainId);
  const removed: StoredLayer[] = [];
  for (const layer of listLayers(store)) {
    if (keep.has(layer.chainId) || used.has(layer.chainId)) continue;
    store.forgetLayer(layer.chainId);
    if (store.discard(store.layerDirectory(layer.chainId))) removed.push(layer);
  }
  return removed;
}

/**
 * At start, before any pull or container: deletes what a crash left unfinished (layers in work, snapshots in work,
 * trash, mapped views of layers, records of image mounts that are gone), and layers whose record cannot be read, unless a container has them:
 * the next pull then makes them anew. Deleting goes on in the background.
 */
export function sweepIngests(store: SnapshotStore): void {
  const used = usedLayerNames(store);
  for (const name of readdirSync(store.layersDirectory)) {
    const isUnfinished = name.startsWith(ingestPrefix) || (!used.has(name) && !isReadable(store, name));
    if (isUnfinished) store.discard(join(store.layersDirectory, name));
  }
  for (const name of readdirSync(store.containersDirectory)) {
    if (name.startsWith(unfinishedPrefix)) store.discard(join(store.containersDirectory, name));
  }
  for (const { file, isMounted } of listImageMounts(store)) {
    if (!isMounted) rmSync(file, { force: true });
  }
  sweepMappedLayers(store);
  const trash = readdirSync(store.trashDirectory);
  if (trash.length > 0) store.deleteTrash(trash);
}

function usedChainIds(store: SnapshotStore): Set<ChainId> {
  const users = [...listSnapshots(store), ...listImageMounts(store)];
  return new Set(users.flatMap(({ chainIds }) => chainIds));
}

function usedLayerNames(store: SnapshotStore): Set<string> {
  return new Set([...usedChainIds(store)].map(layerDirectoryName));
}

function isReadable(store: SnapshotStore, name: string): boolean {
  try {
    return readLayerRecord(join(store.layersDirectory, name)) !== undefined;
  } catch (error) {
    store.onError(error);
    return false;
  }
}
