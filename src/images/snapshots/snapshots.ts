/** The writable snapshot of a container: made, mounted, unmounted, removed. */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import { type ChainId, type ContainerId, parseContainerId, parseDigest } from '../../lib/ids.ts';
import { mountOverlay } from '../../linux/overlay.ts';
import { isMountPoint, unmountAll } from './mounted.ts';
import { holdingChain, mountOver, overlayOptions, readyChain, rootModelOf } from './overlay-chain.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import type { MappedIds, MountedSnapshot, SnapshotRequest, StoredSnapshot } from './snapshot-types.ts';

/** Snapshots in work are named so until they are whole. */
export const unfinishedPrefix = '.new-';

interface SnapshotRecord {
  readonly version: 1;
  readonly chainIds: readonly string[];
  readonly createdAtMs: number;
}

/**
 * Makes a writable snapshot over an image's layers and mounts it. Called again for the same key and chain it gives
 * the same snapshot, mounted; whatever fails, nothing is left.
 * @throws EngineError not-found naming a missing layer, already-exists if the key has a snapshot of another image
 */
export async function prepareSnapshot(
  store: SnapshotStore,
  request: SnapshotRequest,
): Promise<MountedSnapshot> {
  const { key, chainIds } = request;
  return await holdingChain(store, chainIds, async () => {
    using _ = await store.locks.acquire(key);
    await readyChain(store, chainIds);
    const present = readRecord(store, key);
    if (present === undefined) create(store, request);
    else if (present.chainIds.join() !== chainIds.join()) {
      throw new EngineError('already-exists', `container ${key} has a snapshot of another image`);
    }
    try {
      return mountPrepared(store, request);
    } catch (error) {
      if (present === undefined) store.discard(directoryOf(store, key));
      throw error;
    }
  });
}

/** Unmounts a snapshot and keeps what was written. Not mounted, or not there, is fine. */
export async function unmountSnapshot(store: SnapshotStore, key: ContainerId): Promise<void> {
  using _ = await store.locks.acquire(key);
  await unmountAll(store, rootfsOf(store, key));
}

/**
 * Unmounts a snapshot and removes it with all that was written; not there is fine. It is gone for every later call
 * when this resolves; the space is free once the background has deleted it.
 */
export async function removeSnapshot(store: SnapshotStore, key: ContainerId): Promise<void> {
  using _ = await store.locks.acquire(key);
  await unmountAll(store, rootfsOf(store, key));
  store.discard(directoryOf(store, key));
  store.usages.delete(key);
}

/** All snapshots on disk, mounted or not. */
export function listSnapshots(store: SnapshotStore): StoredSnapshot[] {
  const snapshots: StoredSnapshot[] = [];
  for (const name of readdirSync(store.containersDirectory)) {
    if (name.startsWith(unfinishedPrefix)) continue;
    try {
      snapshots.push(readSnapshot(store, parseContainerId(name)));
    } catch (error) {
      store.onError(error);
    }
  }
  return snapshots;
}

/** Where the container's own files are, without the image's. */
export function upperDirectoryOf(store: SnapshotStore, key: ContainerId): string {
  return join(directoryOf(store, key), 'upper');
}

function readSnapshot(store: SnapshotStore, key: ContainerId): StoredSnapshot {
  try {
    return existing(store, key);
  } catch (error) {
    // It has no layers that could be named, but it can still be removed.
    store.onError(error);
    return { key, chainIds: [], createdAtMs: 0 };
  }
}

function create(store: SnapshotStore, request: SnapshotRequest): void {
  const unfinished = join(store.containersDirectory, unfinishedPrefix + randomBytes(12).toString('hex'));
  try {
    mkdirSync(unfinished, { mode: 0o700 });
    for (const name of ['upper', 'work', 'rootfs']) mkdirSync(join(unfinished, name), { mode: 0o700 });
    dressRoot(join(unfinished, 'upper'), rootModelOf(store, request.chainIds), request.ids);
    const record: SnapshotRecord = { version: 1, chainIds: request.chainIds, createdAtMs: store.now() };
    writeFileSync(join(unfinished, 'snapshot.json'), JSON.stringify(record), { mode: 0o600 });
    renameSync(unfinished, directoryOf(store, request.key));
  } catch (error) {
    store.discard(unfinished);
    throw EngineError.from(error);
  }
}

/**
 * A container's root directory looks as the upper one does. What is written into the upper directory has the ids that the
 * node sees: it is not mapped, or the kernel could make nothing in it as root.
 */
function dressRoot(upper: string, model: string | undefined, ids: MappedIds | undefined): void {
  const status = model === undefined ? { uid: 0, gid: 0, mode: 0o755 } : statSync(model);
  chownSync(upper, mappedId(ids, status.uid), mappedId(ids, status.gid));
  chmodSync(upper, status.mode & 0o7777);
}

/** An id that the pod does not have is its root's. */
function mappedId(ids: MappedIds | undefined, id: number): number {
  if (ids === undefined) return id;
  return ids.hostId + (id < ids.length ? id : 0);
}

/**
 * Without syncs (`volatile`): unmounting would else wait until everything the container wrote is on the disk, to be deleted
 * there. No power loss is outlived: after one no container is started again.
 */
function mountPrepared(store: SnapshotStore, request: SnapshotRequest): MountedSnapshot {
  const directory = directoryOf(store, request.key);
  const rootfs = rootfsOf(store, request.key);
  if (isMountPoint(rootfs)) return { rootfs };
  // Where an earlier mount of this boot has left the sign that nothing of it was synced, which would refuse this one.
  rmSync(join(directory, 'work', 'work', 'incompat'), { recursive: true, force: true });
  try {
    const { chainIds, ids } = request;
    mountOver(store, { chainIds, ids, minimum: 1 }, (lowerDirs) =>
      mountOverlay({
        lowerDirs,
        upperDir: join(directory, 'upper'),
        workDir: join(directory, 'work'),
        target: rootfs,
        options: [...overlayOptions, 'volatile'],
      }),
    );
  } catch (error) {
    const { kind } = EngineError.from(error);
    throw new EngineError(
      kind,
      `mount the root file system of container ${request.key}: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  return { rootfs };
}

function existing(store: SnapshotStore, key: ContainerId): StoredSnapshot {
  const record = readRecord(store, key);
  if (record === undefined) throw new EngineError('not-found', `container ${key} has no snapshot`);
  return record;
}

function readRecord(store: SnapshotStore, key: ContainerId): StoredSnapshot | undefined {
  const path = join(directoryOf(store, key), 'snapshot.json');
  try {
    const record = JSON.parse(readFileSync(path, 'utf8')) as Partial<SnapshotRecord>;
    if (record.version !== 1 || !Array.isArray(record.chainIds))
      throw new Error('a record of another version');
    const chainIds = record.chainIds.map((text) => parseDigest(String(text)) as ChainId);
    return { key, chainIds, createdAtMs: record.createdAtMs ?? 0 };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && !existsSync(directoryOf(store, key))) return undefined;
    throw new EngineError('data-loss', `read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function directoryOf(store: SnapshotStore, key: ContainerId): string {
  return join(store.containersDirectory, key);
}

function rootfsOf(store: SnapshotStore, key: ContainerId): string {
  return join(directoryOf(store, key), 'rootfs');
}
