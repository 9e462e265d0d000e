/** The words of the snapshot side. A snapshot is a container's writable layer over the layers of its image. */
import type { ChainId, ContainerId, DiffId } from '../../lib/ids.ts';

/** What a tree takes on disk. */
export interface DiskUsage {
  /** Allocated bytes (blocks), hard links counted once. */
  readonly bytes: number;
  readonly inodes: number;
}

/** What a live tree took on disk when it was last walked. */
export interface MeasuredUsage extends DiskUsage {
  /** Milliseconds since the epoch. */
  readonly measuredAtMs: number;
}

/** The ids that a pod's user namespace gives to the files of its containers: 0 on disk is `hostId`, and so on. */
export interface MappedIds {
  /** Path of the user namespace. */
  readonly userNamespace: string;
  readonly hostId: number;
  readonly length: number;
}

/** A writable snapshot to make. */
export interface SnapshotRequest {
  readonly key: ContainerId;
  /** The image's chain, bottom first, top last: `image.layers.map((layer) => layer.chainId)`. */
  readonly chainIds: readonly ChainId[];
  /** Left out: files have the ids that they have on disk. */
  readonly ids?: MappedIds | undefined;
}

/** A snapshot whose root file system is mounted. */
export interface MountedSnapshot {
  /** Absolute path of the mount. */
  readonly rootfs: string;
}

/** A snapshot found on disk, with the layers that it keeps alive (none if its record cannot be read). */
export interface StoredSnapshot extends SnapshotRequest {
  /** Milliseconds since the epoch. */
  readonly createdAtMs: number;
}

/** A layer found on disk. */
export interface StoredLayer extends DiskUsage {
  readonly chainId: ChainId;
  readonly diffId: DiffId;
}
