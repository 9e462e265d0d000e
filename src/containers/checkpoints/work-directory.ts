/** Where checkpoints are in work: on the disk of the engine's data, since CRIU's images are as large as the memory of a container. */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import type { ContainerId } from '../../lib/ids.ts';
import type { Log } from '../../telemetry/log.ts';
import type { ContainerDeps } from '../deps.ts';

const writing = 'writing-';

/** Names the archive in work, so that a daemon that died in the middle leaves nothing where the caller looks. */
export const partFile = 'part';

/** Of a checkpoint that is being made of a container. */
export function checkpointWork(root: string, id: ContainerId): string {
  return join(root, `${writing}${id}`);
}

/**
 * At start: what a daemon that died in the middle of a checkpoint left. A container that it had frozen goes on.
 * What cannot be cleared is told, and tried again at the next start.
 */
export async function sweepCheckpoints(deps: ContainerDeps, log: Log): Promise<void> {
  const { directory } = deps.checkpoints;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(writing)) continue;
    try {
      await sweep(deps, name);
    } catch (error) {
      log.error({ checkpoint: name, error: messageOf(error) }, 'a checkpoint that was cut short is left');
    }
  }
}

async function sweep(deps: ContainerDeps, name: string): Promise<void> {
  const path = join(deps.checkpoints.directory, name);
  const container = deps.store.get(name.slice(writing.length) as ContainerId);
  if (container?.state.name === 'running') await deps.checkpoints.resume(container);
  const part = readPart(join(path, partFile));
  if (part !== undefined) rmSync(part, { force: true });
  rmSync(path, { recursive: true, force: true });
}

function readPart(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
