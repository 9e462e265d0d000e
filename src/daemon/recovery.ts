/** Bringing records and kernel together when the daemon starts. */
import { sweepCheckpoints } from '../containers/checkpoints/work-directory.ts';
import { recoverContainers } from '../containers/recover.ts';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { recoverSandboxes } from '../sandbox/recover.ts';
import type { Engine } from './engine.ts';
import { endUnfinishedWork, removeOrphans, unreadableIds } from './orphans.ts';

/** Containers first: a sandbox that is stopped here stops its containers. Ends of containers are heard from then on. */
export async function recoverEngine(engine: Engine, log: Log): Promise<void> {
  const { parts, containers, sandboxes, exits } = engine;
  await endUnfinishedWork(engine, log);
  await parts.images.recover(log);
  await sweep(log, 'checkpoints', async () => await sweepCheckpoints(containers, log));
  await recoverContainers(containers, log);
  exits.start();
  await recoverSandboxes(sandboxes, log);
  await removeOrphans(engine, log);
  // What belongs to a record that this release cannot read is not garbage: a release that can will want it.
  const unreadable = unreadableIds(engine);
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
