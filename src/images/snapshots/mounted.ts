import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../../lib/errors.ts';
import type { SnapshotStore } from './snapshot-store.ts';

const unmountTimeoutMs = 120_000;

/** True if a file system of its own begins at `path`. */
export function isMountPoint(path: string): boolean {
  const own = statSync(path, { throwIfNoEntry: false });
  return own !== undefined && own.dev !== statSync(dirname(path)).dev;
}

/**
 * Unmounts all that is mounted at `path`; nothing there is fine. What is still in use leaves the tree at once, and
 * ends with its last user.
 * @throws EngineError deadline-exceeded if the file system hangs
 */
export async function unmountAll(store: SnapshotStore, path: string): Promise<void> {
  let isMounted = true;
  while (isMounted) {
    try {
      isMounted = await store.paths.call('unmount', { path }, unmountTimeoutMs);
    } catch (error) {
      if (errnoOf(error) !== 'EBUSY') throw error;
      isMounted = await store.paths.call('unmount', { path, lazy: true }, unmountTimeoutMs);
    }
  }
}
