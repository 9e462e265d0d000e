/** Bringing records and kernel together when the daemon starts. */
import { recoverContainers } from '../containers/recover.ts';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { recoverSandboxes } from '../sandbox/recover.ts';
import type { Engine } from './engine.ts';

/** Containers first: a sandbox that is stopped here stops its containers. Ends of containers are heard from then on. */
export async function recoverEngine(
  { parts, containers, sandboxes, exits }: Engine,
  log: Log,
): Promise<void> {
  await parts.images.recover(log);
  await recoverContainers(containers, log);
  exits.start();
  await recoverSandboxes(sandboxes, log);
  // What belongs to a record that this release cannot read is not garbage: a release that can will want it.
  const unreadable = parts.stores.database.rejected.map(({ id }) => id);
  const known = new Set([...parts.stores.containers.all().map(({ id }) => id), ...unreadable]);
  const pods = [...parts.stores.sandboxes.all().map(({ id }) => id), ...unreadable];
  await sweep(log, 'writable layers', async () => await parts.images.removeOrphans(known));
  await sweep(log, 'volumes', async () => await containers.volumes.removeOrphans(known));
  await sweep(log, 'networks', async () => await parts.networks.collectGarbage(pods));
}

/** Garbage that cannot be removed keeps no node from serving: the next start tries again. */
async function sweep(log: Log, what: string, remove: () => Promise<void>): Promise<void> {
  try {
    await remove();
  } catch (error) {
    log.error({ what, error: messageOf(error) }, 'what no record names could not be removed');
  }
}
