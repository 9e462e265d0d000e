import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import { attachToMonitor } from '../oci/attach.ts';
import { TerminalResizer } from '../oci/monitor-control.ts';
import { containerPaths } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import type { ExecDeps } from './exec.ts';
import type { ProcessSession, SessionEnd } from './process-session.ts';

export interface AttachDeps extends Pick<ExecDeps, 'stateDirectory' | 'monitorDeps'> {
  readonly containers: Pick<ContainerDeps, 'store' | 'exits'>;
}

/**
 * Joins a client to the output of a running container from now on, and to its input if it has one. The client leaving
 * ends the session only; the container's end ends it too.
 *
 * @throws EngineError not-found, failed-precondition (not running, or no standard input to attach to)
 */
export async function attachContainer(
  deps: AttachDeps,
  { id, stdin }: { readonly id: ContainerId; readonly stdin: boolean },
): Promise<ProcessSession> {
  const { store, exits } = deps.containers;
  const container = store.mustFind(id);
  if (container.state.name !== 'running')
    throw new EngineError('failed-precondition', `container ${id} is ${container.state.name}, not running`);
  if (stdin && !container.config.stdin)
    throw new EngineError('failed-precondition', `container ${id} was created without standard input`);
  const { bundle } = containerPaths(deps.stateDirectory, id);
  const { poller } = deps.monitorDeps(container.runtimeHandler);
  const streams = await attachToMonitor({ poller }, { directory: bundle });
  const resizer = new TerminalResizer(bundle);
  // The container's exit code is told by its status; an attach that saw it out has succeeded.
  const ended = exits.whenEnded(id).then((): SessionEnd => ({ exitCode: 0 }));
  return {
    ...(stdin ? { stdin: streams.stdin } : {}),
    stdout: streams.stdout,
    ...(container.config.tty ? {} : { stderr: streams.stderr }),
    resize: (size) => resizer.resize(size),
    ended,
    close() {
      resizer[Symbol.dispose]();
      streams.close();
    },
  };
}
