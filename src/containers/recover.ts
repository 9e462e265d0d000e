import { unixNowNs } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { MonitoredContainer } from '../oci/monitor.ts';
import type { Log } from '../telemetry/log.ts';
import { recoverUnrestored } from './checkpoints/stand-by.ts';
import { isAlive, processesOf, type Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { releaseContainer, releaseProcesses } from './release.ts';

const unknownExitCode = 255;

/**
 * Takes up every container when the daemon starts. One whose making was cut short is undone; one of an earlier boot
 * is exited; a living one is watched again, and if it ended meanwhile its exit file says how. One bad record never
 * stops the daemon.
 */
export async function recoverContainers(deps: ContainerDeps, log: Log): Promise<void> {
  for (const container of deps.store.all()) {
    try {
      await recoverContainer(deps, container);
    } catch (error) {
      log.error(
        { container: container.id, error: messageOf(error) },
        'could not recover a container; its removal tries again',
      );
    }
  }
}

async function recoverContainer(deps: ContainerDeps, container: Container): Promise<void> {
  const { id, state } = container;
  if (state.name === 'creating') {
    await releaseContainer(deps, container);
    deps.store.delete(id);
  } else if (isAlive(container) && container.bootId !== deps.bootId) {
    const finishedAtNs = String(unixNowNs());
    const message = 'the node was restarted while the container ran';
    const exited = deps.store.update(id, (old) => ({
      ...old,
      state: {
        name: 'exited',
        finishedAtNs,
        exitCode: unknownExitCode,
        reason: 'ContainerStatusUnknown',
        message,
      },
    }));
    await releaseProcesses(deps, exited);
  } else if (isAlive(container)) {
    const processes = processesOf(container);
    if (processes === undefined) await recoverUnrestored(deps, container);
    else await takeUp(deps, container, processes);
  }
}

async function takeUp(
  deps: ContainerDeps,
  container: Container,
  processes: MonitoredContainer,
): Promise<void> {
  try {
    if (container.state.name === 'created') await recordStart(deps, container, processes);
  } finally {
    // Also where its runtime does not answer: nobody else would ever notice its end.
    deps.exits.watch(container.id, processes);
  }
}

/** The daemon may have died between the start of the program and its record. */
async function recordStart(
  deps: Pick<ContainerDeps, 'store' | 'runtime'>,
  container: Container,
  processes: MonitoredContainer,
): Promise<void> {
  if (!(await deps.runtime.isStarted(container))) return;
  const startedAtNs = String(unixNowNs());
  const running = deps.store.update(container.id, (old) => ({
    ...old,
    state: { name: 'running', processes, startedAtNs },
  }));
  deps.store.events.emit({ kind: 'started', container: running });
}
