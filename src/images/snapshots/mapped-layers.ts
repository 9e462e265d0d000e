/**
 * Layers as a pod with a user namespace of its own sees them: files that root owns on disk belong to the root of the pod. No
 * file is copied or changed; the kernel maps ids where the layers are mounted (Linux 5.19 and later, overlayfs over idmapped
 * mounts).
 */
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, errnoOf } from '../../lib/errors.ts';
import { bindMount, unmount } from '../../linux/mount.ts';
import type { SnapshotStore } from './snapshot-store.ts';

const prefix = 'mapped-';

/**
 * Runs `work` with a directory in which the store's layers are seen so. It is there only for that call: what overlayfs was
 * given in it stays as it is.
 *
 * @throws EngineError failed-precondition when the file system or the kernel cannot map ids
 */
export function withMappedLayers<T>(
  store: SnapshotStore,
  userNamespace: string,
  work: (layersDirectory: string) => T,
): T {
  const directory = mkdtempSync(join(store.root, prefix));
  try {
    map(store.layersDirectory, directory, userNamespace);
    return work(directory);
  } finally {
    remove(directory);
  }
}

/** At start: what a daemon that was killed left mounted. */
export function sweepMappedLayers(store: SnapshotStore): void {
  for (const name of readdirSync(store.root)) if (name.startsWith(prefix)) remove(join(store.root, name));
}

function map(source: string, target: string, idsOf: string): void {
  try {
    bindMount(source, target, { idsOf });
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL' && errnoOf(error) !== 'ENOSYS') throw error;
    throw new EngineError('failed-precondition', `the file system of ${source} cannot map the ids of files`, {
      cause: error,
    });
  }
}

function remove(directory: string): void {
  unmount(directory, { lazy: true });
  rmdirSync(directory);
}
