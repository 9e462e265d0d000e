import { unixNowNs } from '../lib/clock.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { restore } from './checkpoints/stand-by.ts';
import { releaseProcesses } from './release.ts';

const startErrorExitCode = 128;

/**
 * Lets a created container run its program. A container that cannot be started is exited with reason `StartError`.
 *
 * @throws EngineError not-found, failed-precondition (not in state created), or why the program did not start
 */
export async function startContainer(
  deps: ContainerDeps,
  id: ContainerId,
  signal: AbortSignal,
): Promise<void> {
  using _ = await phase('wait for the container', () => deps.store.locks.acquire(id, signal));
  const container = deps.store.mustFind(id);
  const { state } = container;
  if (state.name !== 'created')
    throw new EngineError(
      'failed-precondition',
      `container ${id} is ${state.name}: only a created one can be started`,
    );
  let { processes } = state;
  try {
    await deps.plugins.starting(container, signal);
    if (processes === undefined) processes = await phase('restore', () => restore(deps, container, signal));
    else await phase('start in the runtime', () => deps.runtime.start(container));
  } catch (error) {
    await recordStartError(deps, container, error);
    throw error;
  }
  const startedAtNs = String(unixNowNs());
  const running = await phase('record', () =>
    deps.store.update(id, (old) => ({ ...old, state: { name: 'running', processes, startedAtNs } })),
  );
  if (state.processes === undefined) deps.exits.watch(id, processes);
  deps.store.events.emit({ kind: 'started', container: running });
}

async function recordStartError(deps: ContainerDeps, container: Container, error: unknown): Promise<void> {
  const finishedAtNs = String(unixNowNs());
  const exited = deps.store.update(container.id, (old) => ({
    ...old,
    state: {
      name: 'exited',
      finishedAtNs,
      exitCode: startErrorExitCode,
      reason: 'StartError',
      message: messageOf(error),
    },
  }));
  try {
    await releaseProcesses(deps, container);
  } catch (releaseError) {
    throw new SuppressedError(releaseError, error, messageOf(error));
  } finally {
    deps.store.events.emit({ kind: 'stopped', container: exited });
  }
}
