import { unixNowNs } from '../lib/clock.ts';
import { Deadline } from '../lib/deadline.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote, type ContainerId, type SandboxId } from '../lib/ids.ts';
import { untilAborted } from '../lib/keyed-lock.ts';
import { throwFailures } from '../lib/teardown.ts';
import { recordUnrestored } from './checkpoints/stand-by.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { containersOf, isAlive, processesOf, type Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { releaseProcesses } from './release.ts';

/** How long the kernel may take to end a process after SIGKILL: longer means it hangs in the kernel. */
const killDeadlineMs = 30_000;
/** Of all containers of a pod: time for what is being done to one of them, and then for its kill, whose own error says more. */
const stopAllDeadlineMs = 2 * killDeadlineMs;

/**
 * Asks the container to end by its stop signal and kills it after `timeoutMs`; 0 kills at once. Done means ended,
 * recorded and cleaned up. Idempotent. A second call with a shorter time-out overtakes a first that still waits.
 *
 * @throws EngineError deadline-exceeded if the process outlives SIGKILL
 */
export async function stopContainer(
  deps: ContainerDeps,
  id: ContainerId,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const container = await withProcess(deps, id, signal);
  if (container === undefined) return;
  const ended = deps.exits.whenEnded(id);
  if (timeoutMs > 0 && container.state.name === 'running') {
    await deps.runtime.kill(container, container.stopSignal);
    if (await waiting(id, 'end by itself', () => endsWithin(ended, timeoutMs, signal))) return;
  }
  await deps.runtime.kill(container, 'SIGKILL');
  if (await waiting(id, 'end by SIGKILL', () => endsWithin(ended, killDeadlineMs, signal))) return;
  throw new EngineError(
    'deadline-exceeded',
    `stop container ${id}: its process did not end ${killDeadlineMs / 1000} s after SIGKILL`,
  );
}

/** Kills every container of a sandbox, all at once. @throws EngineError naming all that did not end */
export async function stopAllContainers(deps: ContainerDeps, sandboxId: SandboxId): Promise<void> {
  using deadline = new Deadline(stopAllDeadlineMs);
  const containers = containersOf(deps.store, sandboxId);
  const results = await Promise.allSettled(
    containers.map(async ({ id }) => await stopContainer(deps, id, 0, deadline.signal)),
  );
  const failures = results.flatMap((result, index) => {
    const name = containers[index]?.config.metadata.name ?? '';
    return result.status === 'rejected' ? [[quote(name), result.reason] as const] : [];
  });
  throwFailures(`stop the containers of pod sandbox ${sandboxId}`, failures);
}

/**
 * The container whose process has to end, once nobody is in the middle of starting it. What has none ends here, before a start that waits
 * for the lock can give it one. The lock is not kept for the others: a stop may wait long.
 */
async function withProcess(
  deps: ContainerDeps,
  id: ContainerId,
  signal: AbortSignal,
): Promise<Container | undefined> {
  using _ = await waiting(id, 'wait for the container', () => deps.store.locks.acquire(id, signal));
  const container = deps.store.get(id);
  if (container === undefined) return undefined;
  if (container.state.name === 'unknown') {
    await endUnknown(deps, container, container.state.reason);
    return undefined;
  }
  if (!isAlive(container)) return undefined;
  if (processesOf(container) !== undefined) return container;
  await recordUnrestored(deps, container, 'it was stopped before it was restored');
  return undefined;
}

/** A phase that a deadline or a client that leaves may cut short: then its name is told. */
async function waiting<T>(id: ContainerId, what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await phase(what, work);
  } catch (error) {
    const message = `stop container ${id}: ${what}: ${messageOf(error)}`;
    throw new EngineError(EngineError.from(error).kind, message, { cause: error });
  }
}

async function endUnknown(deps: ContainerDeps, container: Container, message: string): Promise<void> {
  await releaseProcesses(deps, container);
  const finishedAtNs = String(unixNowNs());
  const exited = deps.store.update(container.id, (old) => ({
    ...old,
    state: { name: 'exited', finishedAtNs, exitCode: 255, reason: 'ContainerStatusUnknown', message },
  }));
  deps.store.events.emit({ kind: 'stopped', container: exited });
}

async function endsWithin(ended: Promise<void>, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(resolve, Math.min(timeoutMs, 2 ** 31 - 1), false);
  try {
    return await untilAborted(Promise.race([ended.then(() => true), late]), signal);
  } finally {
    clearTimeout(timer);
  }
}
