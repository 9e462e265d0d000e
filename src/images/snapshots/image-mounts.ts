/** Read-only mounts of whole images (image volumes). Each has a record, which keeps its layers from being collected. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { type ChainId, parseDigest } from '../../lib/ids.ts';
import { mountOverlay } from '../../linux/overlay.ts';
import { isMountPoint, unmountAll } from './mounted.ts';
import { holdingChain, mountOver, readyChain } from './overlay-chain.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import type { MappedIds } from './snapshot-types.ts';

interface ImageMount {
  readonly target: string;
  readonly chainIds: readonly ChainId[];
}

/**
 * Mounts an image's file system at `target`, a directory of the engine's own. Done twice it does nothing.
 * @throws EngineError not-found naming a missing layer, internal naming the target
 */
export async function mountReadOnly(
  store: SnapshotStore,
  args: ImageMount & { readonly ids?: MappedIds | undefined },
): Promise<void> {
  const { target, chainIds, ids } = args;
  await holdingChain(store, chainIds, async () => {
    await readyChain(store, chainIds);
    if (isMountPoint(target)) return;
    const file = recordFile(store, target);
    writeFileSync(file, JSON.stringify({ target, chainIds }), { mode: 0o600 });
    try {
      // Overlayfs takes no single directory without an upper one.
      mountOver(store, { chainIds, ids, minimum: 2 }, (lowerDirs) => mountOverlay({ lowerDirs, target }));
    } catch (error) {
      rmSync(file, { force: true });
      throw new EngineError('internal', `mount the image at ${target}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  });
}

/** Undoes mountReadOnly. Nothing mounted is fine. */
export async function unmountReadOnly(store: SnapshotStore, target: string): Promise<void> {
  await unmountAll(store, target);
  rmSync(recordFile(store, target), { force: true });
}

/** All records, with whether they still are true. */
export function listImageMounts(store: SnapshotStore): (ImageMount & { file: string; isMounted: boolean })[] {
  return readdirSync(store.imageMountsDirectory).map((name) => {
    const file = join(store.imageMountsDirectory, name);
    const record = readRecord(file);
    return { ...record, file, isMounted: record.target !== '' && isMountPoint(record.target) };
  });
}

/** A record that was not written whole: its mount, if there was one, ended with the machine. */
function readRecord(file: string): ImageMount {
  try {
    const record = JSON.parse(readFileSync(file, 'utf8')) as ImageMount;
    return {
      target: String(record.target),
      chainIds: record.chainIds.map((text) => parseDigest(text) as ChainId),
    };
  } catch {
    return { target: '', chainIds: [] };
  }
}

function recordFile(store: SnapshotStore, target: string): string {
  const name = createHash('sha256').update(target).digest('hex').slice(0, 32);
  return join(store.imageMountsDirectory, `${name}.json`);
}
