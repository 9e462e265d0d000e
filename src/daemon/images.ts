/** Images and snapshots, joined: layers unpacked by threads, shared by images, stood upon by containers. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config-schema.ts';
import type { ContainerStore } from '../containers/container.ts';
import type { ContainerDeps } from '../containers/deps.ts';
import type { MountSourceDeps } from '../containers/mount-sources.ts';
import { checkpointTest } from '../images/checkpoint-annotation.ts';
import { collectGarbage, recoverImages } from '../images/garbage-collection.ts';
import type { ImageFsInfo } from '../images/image-fs-info.ts';
import type { Image } from '../images/image-record.ts';
import { openImages, type Images } from '../images/images.ts';
import type { LayerBackend } from '../images/layer-index.ts';
import { LayerUnpacker } from '../images/layers/layer-unpacker.ts';
import { addPrivateLayer } from '../images/private-layers.ts';
import { mountReadOnly, unmountReadOnly } from '../images/snapshots/image-mounts.ts';
import { collectLayers, listLayers, sweepIngests } from '../images/snapshots/layer-store.ts';
import { SnapshotStore } from '../images/snapshots/snapshot-store.ts';
import type { MeasuredUsage } from '../images/snapshots/snapshot-types.ts';
import { snapshotDirectories } from '../images/snapshots/snapshot-directories.ts';
import { snapshotUsage } from '../images/snapshots/snapshot-usage.ts';
import {
  listSnapshots,
  prepareSnapshot,
  removeSnapshot,
  unmountSnapshot,
} from '../images/snapshots/snapshots.ts';
import { resolveImage } from '../images/store.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote, type ChainId, type ContainerId, type ImageId } from '../lib/ids.ts';
import type { RecordDatabase } from '../lib/records.ts';
import type { PathWorkers } from '../linux/path-worker.ts';
import type { Poller } from '../linux/poll.ts';
import type { Log } from '../telemetry/log.ts';
import type { Directories } from './directories.ts';

export interface EngineImages {
  readonly images: Images;
  readonly forContainers: ContainerDeps['images'] & MountSourceDeps['images'];
  readonly forCheckpoints: ContainerDeps['checkpoints']['layers'];
  /** What a container has written. @throws EngineError not-found */
  usageOf(id: ContainerId): Promise<MeasuredUsage>;
  /** The sum over all containers. */
  containerFs(): Promise<ImageFsInfo>;
  /** Unmounts the image volumes below a directory. Idempotent. */
  releaseImageMounts(directory: string): Promise<void>;
  /** Follows the removal of containers: the last one of an image that is gone lets go of the image's layers. */
  followRemovals(containers: ContainerStore): Disposable;
  /** Takes a tree that a container has shaped out of its place at once, and deletes it in the background. */
  discard(path: string): void;
  /** Removes writable layers of containers that nothing knows: after a power loss a record may be older than its layer. */
  removeOrphans(known: ReadonlySet<string>): Promise<void>;
  /** Once, at start, before anything else is asked. */
  recover(log: Log): Promise<void>;
}

export interface ImageParts {
  readonly directories: Directories;
  readonly database: RecordDatabase;
  readonly paths: PathWorkers;
  readonly poller: Poller;
  readonly log: Log;
}

/** More than one pull's worth, so that a second pull is not kept waiting by a slow registry of the first. */
const pullsWorthOfDownloads = 3;

/** Everything it opens is put on `stack`. */
export async function startImages(
  config: Config['images'],
  { directories, database, paths, poller, log }: ImageParts,
  stack: AsyncDisposableStack,
): Promise<EngineImages> {
  const onError = (error: unknown): void => log.warn({ error: messageOf(error) }, 'snapshots');
  const snapshots = stack.use(new SnapshotStore({ root: directories.snapshots, paths, onError }));
  const unpacker = stack.use(
    new LayerUnpacker({
      maxWorkers: config.max_unpack_workers,
      snapshotRoot: directories.snapshots,
      programs: { allowed: config.decompressors, poller },
    }),
  );
  const images = stack.use(
    await openImages({
      root: directories.images,
      database,
      layers: layerBackend(snapshots, unpacker),
      certsRoots: config.certs_dirs,
      environment: process.env,
      pinnedImages: config.pinned,
      maxDownloads: config.max_concurrent_downloads * pullsWorthOfDownloads,
      maxDownloadsPerPull: config.max_concurrent_downloads,
      pullProgressTimeoutMs: config.pull_progress_timeout_seconds * 1000,
    }),
  );
  return {
    images,
    forContainers: forContainers(images, snapshots),
    forCheckpoints: forCheckpoints(images, snapshots),
    usageOf: async (id) => await snapshotUsage(snapshots, id),
    containerFs: async () => await containerFs(snapshots),
    releaseImageMounts: async (directory) => {
      if (!existsSync(directory)) return;
      for (const name of readdirSync(directory)) await unmountReadOnly(snapshots, `${directory}/${name}`);
    },
    followRemovals: (containers) =>
      containers.events.subscribe(({ kind, container }) => {
        if (kind !== 'deleted') return;
        // One that was restored has layers of its own.
        if (container.restoredFrom === undefined && images.store.get(container.imageId) !== undefined) return;
        collectGarbage(images).catch(onError);
      }),
    discard: (path) => void snapshots.discard(path),
    removeOrphans: async (known) => {
      const orphans = listSnapshots(snapshots).filter(({ key }) => !known.has(key));
      for (const { key } of orphans) await removeSnapshot(snapshots, key);
      // They may have been the last to need the layers of an image whose record is lost too.
      if (orphans.length > 0) await collectGarbage(images);
    },
    recover: async (recoveryLog) => await recover(images, snapshots, recoveryLog),
  };
}

function forContainers(images: Images, snapshots: SnapshotStore): EngineImages['forContainers'] {
  const chainIdsOf = (image: Image): ChainId[] => image.layers.map(({ chainId }) => chainId);
  const mustResolve = (reference: string): Image => {
    const image = resolveImage(images.store, reference);
    if (image === undefined)
      throw new EngineError('not-found', `image ${quote(reference)} is not on this node`);
    return image;
  };
  return {
    resolve: (reference) => resolveImage(images.store, reference),
    prepareSnapshot: async (key, imageId, ids) =>
      await prepareSnapshot(snapshots, { key, chainIds: chainIdsOf(mustResolve(imageId)), ids }),
    unmountSnapshot: async (key) => await unmountSnapshot(snapshots, key),
    removeSnapshot: async (key) => await removeSnapshot(snapshots, key),
    rootDirectories: (key, imageId) =>
      snapshotDirectories(snapshots, key, images.store.get(imageId)?.layers.length ?? 0),
    nameOf: (imageId) => {
      const image = images.store.get(imageId);
      return image?.repoTags[0] ?? image?.repoDigests[0];
    },
    mountReadOnly: async (reference, target, ids) =>
      await mountReadOnly(snapshots, { target, chainIds: chainIdsOf(mustResolve(reference)), ids }),
  };
}

function forCheckpoints(images: Images, snapshots: SnapshotStore): EngineImages['forCheckpoints'] {
  const layersOf = (id: ImageId): Image['layers'] => images.store.get(id)?.layers ?? [];
  return {
    isCheckpoint: checkpointTest(images),
    directoriesOf: (id) =>
      layersOf(id)
        .map(({ chainId }) => join(snapshots.layerDirectory(chainId), 'fs'))
        .toReversed(),
    collect: async () => void (await collectGarbage(images)),
    prepareSnapshot: async (key, { imageId, tars }, signal) => {
      using lease = images.leases.open();
      const chain = [...layersOf(imageId)];
      for (const { chainId } of chain) lease.add(chainId);
      for (const path of tars)
        chain.push(await addPrivateLayer(images, { below: chain, path, lease }, signal));
      return await prepareSnapshot(snapshots, { key, chainIds: chain.map(({ chainId }) => chainId) });
    },
  };
}

function layerBackend(snapshots: SnapshotStore, unpacker: LayerUnpacker): LayerBackend {
  return {
    list: () => listLayers(snapshots),
    unpack: async (request) => await unpacker.unpack(request),
    collect: (keep) => collectLayers(snapshots, keep),
  };
}

async function containerFs(snapshots: SnapshotStore): Promise<ImageFsInfo> {
  const usages = await Promise.all(
    listSnapshots(snapshots).map(
      async ({ key }) => await snapshotUsage(snapshots, key).catch(() => ({ bytes: 0, inodes: 0 })),
    ),
  );
  return {
    mountpoint: snapshots.root,
    usedBytes: usages.reduce((sum, { bytes }) => sum + bytes, 0),
    usedInodes: usages.reduce((sum, { inodes }) => sum + inodes, 0),
    timestampMs: Date.now(),
  };
}

async function recover(images: Images, snapshots: SnapshotStore, log: Log): Promise<void> {
  sweepIngests(snapshots);
  const { dropped, collected } = await recoverImages(images);
  for (const { id, names, reason } of dropped)
    log.error(
      { image: id, names, reason },
      'an image is not whole and was dropped: it has to be pulled again',
    );
  for (const failure of collected.failures) log.warn({ failure }, 'image garbage is left');
}
