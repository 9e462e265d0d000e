/** A further process in a running container. */
import { readFileSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import { startExec } from '../oci/exec.ts';
import type { ExecSession } from '../oci/exec-session.ts';
import type { MonitorDeps } from '../oci/monitor.ts';
import type { ProcessSpec, Spec } from '../oci/spec-types.ts';
import { containerPaths, type ContainerStore } from './container.ts';
import type { ProcessSession } from './process-session.ts';
import { buildExecProcess } from './spec/exec-process.ts';

export interface ExecDeps {
  readonly store: ContainerStore;
  readonly stateDirectory: string;
  /** What the runtime of a handler needs to be called. */
  readonly monitorDeps: (handler: string) => MonitorDeps;
}

export interface ExecRequest {
  readonly id: ContainerId;
  readonly command: readonly string[];
  readonly terminal: boolean;
  readonly stdin: boolean;
}

/**
 * Starts a process in a running container, with the user, limits and environment of the container's own.
 *
 * @throws EngineError not-found, failed-precondition (not running)
 */
export function startProcess(deps: ExecDeps, request: ExecRequest): ExecSession {
  const container = deps.store.mustFind(request.id);
  if (container.state.name !== 'running')
    throw new EngineError(
      'failed-precondition',
      `container ${request.id} is ${container.state.name}, not running`,
    );
  const { bundle, directory } = containerPaths(deps.stateDirectory, request.id);
  return startExec(deps.monitorDeps(container.runtimeHandler), {
    containerId: request.id,
    process: buildExecProcess(processOf(bundle), { command: request.command, tty: request.terminal }),
    stdin: request.stdin,
    directory,
  });
}

/** An exec whose bytes a client carries: when the client leaves, the process and all that it started are killed. */
export function execInContainer(deps: ExecDeps, request: ExecRequest): ProcessSession {
  const session = startProcess(deps, request);
  let isOver = false;
  const ended = session.exit.finally(() => (isOver = true));
  ended.catch(() => undefined);
  return {
    ...(session.stdin === undefined ? {} : { stdin: session.stdin }),
    stdout: session.stdout,
    ...(request.terminal ? {} : { stderr: session.stderr }),
    resize: (size) => session.resize(size),
    ended,
    close() {
      session.stdin?.destroy();
      // Nobody is left to hear of a failure: the process then goes with its container.
      if (!isOver) session.killTree().catch(() => undefined);
    },
  };
}

function processOf(bundle: string): ProcessSpec {
  const spec = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8')) as Spec;
  if (spec.process === undefined)
    throw new EngineError('data-loss', `${bundle}/config.json names no process`);
  return spec.process;
}
