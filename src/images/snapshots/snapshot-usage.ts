import { existsSync } from 'node:fs';
import { EngineError } from '../../lib/errors.ts';
import type { ContainerId } from '../../lib/ids.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import type { DiskUsage, MeasuredUsage } from './snapshot-types.ts';
import { upperDirectoryOf } from './snapshots.ts';

/**
 * What a container has written. Never older than the store's maximum age by more than one walk: an older value is
 * given at once while a thread walks anew, so that only the first question ever waits, and however many ask, there
 * is one walk at a time.
 * @throws EngineError not-found
 */
export async function snapshotUsage(store: SnapshotStore, key: ContainerId): Promise<MeasuredUsage> {
  const known = store.usages.get(key);
  if (known !== undefined && store.now() - known.measuredAtMs < store.usageMaxAgeMs) return known;
  const measuring = store.measuring.get(key) ?? start(store, key);
  if (known === undefined) return await measuring;
  measuring.catch(() => undefined);
  return known;
}

function start(store: SnapshotStore, key: ContainerId): Promise<MeasuredUsage> {
  const measuring = measure(store, key).finally(() => store.measuring.delete(key));
  store.measuring.set(key, measuring);
  return measuring;
}

async function measure(store: SnapshotStore, key: ContainerId): Promise<MeasuredUsage> {
  const path = upperDirectoryOf(store, key);
  const usage = await store.workers.run({ name: 'usage', path }).catch((error: unknown) => error);
  // Also for a snapshot that went away during the walk: its usage must not be remembered.
  if (!existsSync(path)) {
    store.usages.delete(key);
    throw new EngineError('not-found', `container ${key} has no snapshot`);
  }
  if (usage === undefined || usage instanceof Error) throw EngineError.from(usage);
  const measured = { ...(usage as DiskUsage), measuredAtMs: store.now() };
  store.usages.set(key, measured);
  return measured;
}
