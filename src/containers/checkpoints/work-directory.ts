/** Where checkpoints are in work: on the disk of the engine's data, since CRIU's images are as large as the memory of a container. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import type { ContainerId } from '../../lib/ids.ts';
import type { Log } from '../../telemetry/log.ts';
import type { ContainerDeps } from '../deps.ts';

const writing = 'writing-';
const reading = 'reading-';
const restoring = 'restoring-';

/** Names the archive in work, so that a daemon that died in the middle leaves nothing where the caller looks. */
export const partFile = 'part';

/** Of a checkpoint that is being made of a container. */
export function checkpointWork(root: string, id: ContainerId): string {
  return join(root, `${writing}${id}`);
}

/** Of a checkpoint that is being read, before its container has an id. */
export function readingDirectory(root: string, name: string): string {
  return join(root, `${reading}${name}`);
}

/** Of a container that was made of a checkpoint and has not been started. */
export function restoreWork(root: string, id: ContainerId): string {
  return join(root, `${restoring}${id}`);
}

/** Removes what a restore would have read. Idempotent. */
export async function dropRestoreWork(
  { checkpoints }: Pick<ContainerDeps, 'checkpoints'>,
  id: ContainerId,
): Promise<void> {
  await rm(restoreWork(checkpoints.directory, id), { recursive: true, force: true });
}

/**
 * At start: what a daemon that died in the middle of a checkpoint left. A container that it had frozen goes on.
 * What cannot be cleared is told, and tried again at the next start.
 * @throws where nothing can be looked at
 */
export async function sweepCheckpoints(deps: ContainerDeps, log: Log): Promise<void> {
  const { directory } = deps.checkpoints;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const name of await readdir(directory)) {
    try {
      if (name.startsWith(writing)) await sweepWriting(deps, name);
      else if (!isWanted(deps, name)) await rm(join(directory, name), { recursive: true, force: true });
    } catch (error) {
      log.error({ checkpoint: name, error: messageOf(error) }, 'a checkpoint that was cut short is left');
    }
  }
}

/** The images of a container that still waits to be restored. */
function isWanted(deps: ContainerDeps, name: string): boolean {
  if (!name.startsWith(restoring)) return false;
  const container = deps.store.get(name.slice(restoring.length) as ContainerId);
  return container?.state.name === 'created';
}

async function sweepWriting(deps: ContainerDeps, name: string): Promise<void> {
  const path = join(deps.checkpoints.directory, name);
  const container = deps.store.get(name.slice(writing.length) as ContainerId);
  if (container?.state.name === 'running') await deps.checkpoints.resume(container);
  const part = await readPart(join(path, partFile));
  if (part !== undefined) await rm(part, { force: true });
  await rm(path, { recursive: true, force: true });
}

async function readPart(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch {
    return undefined;
  }
}
