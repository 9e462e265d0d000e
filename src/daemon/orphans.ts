/** What is on the node of pods and containers that no record names: ended and removed when the daemon starts. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { removeBoundMounts } from '../containers/bound-mounts.ts';
import { isAlive } from '../containers/container.ts';
import { messageOf } from '../lib/errors.ts';
import { parseContainerId, parseSandboxId } from '../lib/ids.ts';
import { tearDown } from '../lib/teardown.ts';
import { unmountTree } from '../linux/unmount-tree.ts';
import { awaitCalls, endTree, findLeftProcesses } from '../oci/left-processes.ts';
import { deleteContainer } from '../oci/runtime.ts';
import type { Log } from '../telemetry/log.ts';
import type { Engine } from './engine.ts';

const callTimeoutMs = 10_000;
const idPattern = /^[0-9a-f]{64}$/;

/**
 * Before anything is recovered: ends what a daemon that was killed had under way. Monitors of containers that were being
 * made would make them after their records are undone; nobody hears any more of processes that were being executed.
 */
export async function endUnfinishedWork({ parts, containers, sandboxes }: Engine, log: Log): Promise<void> {
  const unreadable = unreadableIds({ parts });
  const left = findLeftProcesses(parts.directories.runtimes);
  const isWanted = (id: string): boolean => {
    // A command line says anything; what is no id has no record.
    if (!idPattern.test(id)) return false;
    const container = containers.store.get(parseContainerId(id));
    const sandbox = sandboxes.store.get(parseSandboxId(id));
    if (unreadable.has(id) || sandbox?.state.name === 'ready' || sandbox?.state.name === 'unknown')
      return true;
    return container !== undefined && (isAlive(container) || container.state.name === 'unknown');
  };
  for (const one of left) {
    const { pid, purpose, containerId } = one;
    if (purpose === 'call' || (purpose === 'monitor' && isWanted(containerId))) continue;
    if (unreadable.has(containerId)) continue;
    await endTree(one);
    log.warn({ pid, purpose, id: containerId }, 'a process that an earlier daemon was waiting for was ended');
  }
  await awaitCalls(
    left.filter(({ purpose }) => purpose === 'call'),
    callTimeoutMs,
  );
}

/** After the recovery: whatever is left without a record. Those of records that this release cannot read stay. */
export async function removeOrphans({ parts, containers, sandboxes }: Engine, log: Log): Promise<void> {
  const known = new Set<string>([
    ...containers.store.all().map(({ id }) => id),
    ...sandboxes.store.all().map(({ id }) => id),
    ...unreadableIds({ parts }),
  ]);
  const { state, exits } = parts.directories;
  const runtimeIds = [...parts.runtimes.handlers.values()].flatMap(({ root }) => namesIn(root));
  const orphans = new Set(
    [
      ...namesIn(`${state}/containers`),
      ...namesIn(`${state}/mounts`),
      ...namesIn(`${state}/sandboxes`),
      ...namesIn(exits),
      ...runtimeIds,
    ].filter((id) => idPattern.test(id) && !known.has(id)),
  );
  for (const id of orphans) {
    try {
      await removeOrphan(parts, id);
      log.warn({ id }, 'what no record named (processes, mounts, cgroups, files) was ended and removed');
    } catch (error) {
      log.error({ id, error: messageOf(error) }, 'what no record names could not be removed');
    }
  }
}

async function removeOrphan(parts: Engine['parts'], id: string): Promise<void> {
  const { state, exits } = parts.directories;
  const container = `${state}/containers/${id}`;
  const sandbox = `${state}/sandboxes/${id}`;
  const cgroupsPath = cgroupsPathIn(container);
  const { forContainers, forSandboxes } = parts.cgroups;
  await tearDown(id, [
    ['delete it from the runtime', async () => await deleteFromRuntimes(parts, id)],
    [
      'end what is left in its cgroup',
      async () => cgroupsPath !== undefined && (await forContainers.destroy(cgroupsPath)),
    ],
    ['unmount what was bound for it', () => removeBoundMounts(`${state}/mounts/${id}`)],
    ['unmount its images', async () => await parts.images.releaseImageMounts(`${container}/images`)],
    ['unmount', () => [container, sandbox].forEach(unmountTree)],
    [
      'remove its cgroup',
      async () => {
        const { parent } = forSandboxes.forPod(parseSandboxId(id), undefined);
        if (existsSync(sandbox)) await forSandboxes.removeOwn(parent);
      },
    ],
    [
      'remove its files',
      () =>
        [container, sandbox, `${exits}/${id}`].forEach((path) =>
          rmSync(path, { recursive: true, force: true }),
        ),
    ],
  ]);
}

async function deleteFromRuntimes({ runtimes, poller }: Engine['parts'], id: string): Promise<void> {
  for (const runtime of runtimes.handlers.values()) {
    if (!existsSync(`${runtime.root}/${id}`)) continue;
    await deleteContainer({ runtime, poller }, { id, hasEnded: false });
    rmSync(`${runtime.root}/${id}`, { recursive: true, force: true });
  }
}

function cgroupsPathIn(bundle: string): string | undefined {
  try {
    const { linux } = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8')) as {
      linux?: { cgroupsPath?: string };
    };
    return linux?.cgroupsPath;
  } catch {
    return undefined;
  }
}

/** Ids of the records that only another release can read. */
export function unreadableIds({ parts }: Pick<Engine, 'parts'>): ReadonlySet<string> {
  return new Set(parts.stores.database.rejected.map(({ id }) => id));
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}
