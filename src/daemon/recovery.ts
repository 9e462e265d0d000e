/** Bringing records and kernel together when the daemon starts. */
import { recoverContainers } from '../containers/recover.ts';
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
  await parts.images.removeOrphans(known);
  await containers.volumes.removeOrphans(known);
  await parts.networks.collectGarbage([...parts.stores.sandboxes.all().map(({ id }) => id), ...unreadable]);
}
