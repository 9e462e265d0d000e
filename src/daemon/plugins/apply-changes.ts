import { setImmediate as turn } from 'node:timers/promises';
import type { ContainerUpdate } from '../../gen/nri/v1alpha1/api.ts';
import type { ContainerDeps } from '../../containers/deps.ts';
import { stopContainer } from '../../containers/stop.ts';
import { applyLimits } from '../../containers/update.ts';
import { Deadline } from '../../lib/deadline.ts';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { parseContainerId } from '../../lib/ids.ts';
import type { Changes } from '../../nri/plugin-set.ts';
import type { Log } from '../../telemetry/log.ts';
import { resourcesFromWire } from './resources.ts';

/** Long enough for whatever else is being done to a container; a plugin that asked in vain is told. */
const timeoutMs = 60_000;

/**
 * Does what plugins ask of containers that exist, one after the other. The caller holds no lock of a container. Gives the updates that
 * failed and whose failure the plugin minds; all failures are logged. Evictions go on by themselves.
 */
export async function applyChanges(
  deps: ContainerDeps,
  log: Log,
  { updates, evictions }: Changes,
): Promise<ContainerUpdate[]> {
  for (const { containerId, reason } of evictions) void evict(deps, log, containerId, reason);
  const failed: ContainerUpdate[] = [];
  for (const update of updates) {
    try {
      await applyUpdate(deps, update);
    } catch (error) {
      const { message } = EngineError.from(error);
      log.warn({ container: update.containerId, error: message }, 'an NRI plugin’s update failed');
      if (!update.ignoreFailure) failed.push(update);
    }
    // What fails at once would hold up everybody else as often as it is asked for.
    await turn();
  }
  return failed;
}

async function applyUpdate(deps: ContainerDeps, { containerId, linux }: ContainerUpdate): Promise<void> {
  if (linux?.resources === undefined) return;
  const resources = resourcesFromWire(linux.resources);
  using deadline = new Deadline(timeoutMs);
  await applyLimits(deps, parseContainerId(containerId), resources, deadline.signal);
}

async function evict(deps: ContainerDeps, log: Log, containerId: string, reason: string): Promise<void> {
  try {
    log.warn({ container: containerId, reason: reason.slice(0, 1000) }, 'an NRI plugin evicts a container');
    using deadline = new Deadline(timeoutMs);
    await stopContainer(deps, parseContainerId(containerId), 0, deadline.signal);
  } catch (error) {
    log.warn({ container: containerId, error: messageOf(error) }, 'an NRI plugin’s eviction failed');
  }
}
