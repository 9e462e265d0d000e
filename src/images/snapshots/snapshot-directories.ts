/** The directories of a container's root file system on this node, for who wants to know what the container has changed. */
import { join } from 'node:path';
import { EngineError } from '../../lib/errors.ts';
import type { ContainerId } from '../../lib/ids.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import { listSnapshots, upperDirectoryOf } from './snapshots.ts';

export interface SnapshotDirectories {
  /** The mount. */
  readonly rootfs: string;
  /** What belongs to the container alone, top first: its writable layer, and the layers above its image's. */
  readonly own: readonly string[];
  /** The image's layers, top first. */
  readonly image: readonly string[];
}

/** `imageLayers`: how many layers the container's image has. @throws EngineError not-found */
export function snapshotDirectories(
  store: SnapshotStore,
  key: ContainerId,
  imageLayers: number,
): SnapshotDirectories {
  const snapshot = listSnapshots(store).find((one) => one.key === key);
  if (snapshot === undefined) throw new EngineError('not-found', `container ${key} has no snapshot`);
  const layers = snapshot.chainIds.map((chainId) => join(store.layerDirectory(chainId), 'fs'));
  const upper = upperDirectoryOf(store, key);
  return {
    rootfs: join(upper, '..', 'rootfs'),
    own: [upper, ...layers.slice(imageLayers).toReversed()],
    image: layers.slice(0, imageLayers).toReversed(),
  };
}
