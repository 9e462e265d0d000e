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
  const valid = parts.stores.sandboxes.all().map(({ id }) => id);
  await parts.networks.collectGarbage(valid);
}
