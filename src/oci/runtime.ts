/**
 * The OCI runtime: crun, runc and what takes their command line. Every function is one call of the program; the
 * state of containers lies in `root` and outlives the daemon.
 */
import { EngineError } from '../lib/errors.ts';
import { callRuntime, type RuntimeCall, type RuntimeDeps, type RuntimeResult } from './runtime-call.ts';
import { runtimeError } from './runtime-error.ts';
import type { LinuxResources } from './spec-types.ts';

export interface ContainerArgs {
  readonly id: string;
  readonly signal?: AbortSignal | undefined;
}

/** What the runtime knows of a container. `pid` is 0 when it has ended. */
export interface RuntimeState {
  readonly id: string;
  readonly pid: number;
  readonly status: 'creating' | 'created' | 'running' | 'paused' | 'stopped';
  readonly bundle: string;
}

/** Starts the process of a created container. @throws EngineError with the runtime's message */
export async function startContainer(deps: RuntimeDeps, args: ContainerArgs): Promise<void> {
  await mustSucceed(deps, {
    what: `start container ${args.id}`,
    args: ['start', args.id],
    signal: args.signal,
  });
}

/**
 * Removes the container from the runtime with its cgroup; processes that it still has are killed. Idempotent. Of one that `hasEnded` it is
 * asked politely first: in `delete --force` runc, since 1.2, waits a tenth of a second even where there is nothing to wait for
 * (https://github.com/opencontainers/runc/blob/v1.5.1/delete.go). @throws EngineError with the runtime's message
 */
export async function deleteContainer(
  deps: RuntimeDeps,
  { hasEnded, ...args }: ContainerArgs & { readonly hasEnded: boolean },
): Promise<void> {
  if (hasEnded && (await deletePolitely(deps, args))) return;
  const error = await tryDelete(deps, args, { flags: ['--force'] });
  if (error !== undefined) throw error;
}

/** A runtime may wait for a freezer that only force thaws. */
const politeTimeoutMs = 10_000;

/** False where only force can help. */
async function deletePolitely(deps: RuntimeDeps, args: ContainerArgs): Promise<boolean> {
  try {
    return (await tryDelete(deps, args, { flags: [], timeoutMs: politeTimeoutMs })) === undefined;
  } catch (error) {
    if (args.signal?.aborted !== true && error instanceof EngineError && error.kind === 'deadline-exceeded')
      return false;
    throw error;
  }
}

/** Why the runtime refused; undefined when the container is gone. */
async function tryDelete(
  deps: RuntimeDeps,
  { id, signal }: ContainerArgs,
  { flags, ...options }: { readonly flags: readonly string[] } & Pick<RuntimeCall, 'timeoutMs'>,
): Promise<EngineError | undefined> {
  const call = { what: `delete container ${id}`, args: ['delete', ...flags, id], signal, ...options };
  const result = await callRuntime(deps, call);
  if (result.exitCode === 0) return undefined;
  const error = failure(call, result);
  return error.kind === 'not-found' ? undefined : error;
}

/** undefined when the runtime does not know the container. */
export async function containerState(
  deps: RuntimeDeps,
  args: ContainerArgs,
): Promise<RuntimeState | undefined> {
  const call = {
    what: `ask the state of container ${args.id}`,
    args: ['state', args.id],
    signal: args.signal,
  };
  const result = await callRuntime(deps, { ...call, wantsOutput: true });
  if (result.exitCode === 0) return readState(result.stdout, call.what);
  const error = failure(call, result);
  if (error.kind === 'not-found') return undefined;
  throw error;
}

/** Freezes all processes of a running container. */
export async function pauseContainer(
  deps: RuntimeDeps,
  args: ContainerArgs & Pick<RuntimeCall, 'timeoutMs'>,
): Promise<void> {
  await mustSucceed(deps, {
    what: `pause container ${args.id}`,
    args: ['pause', args.id],
    ...(args.timeoutMs === undefined ? {} : { timeoutMs: args.timeoutMs }),
    signal: args.signal,
  });
}

/** Thaws a paused container. */
export async function resumeContainer(deps: RuntimeDeps, args: ContainerArgs): Promise<void> {
  await mustSucceed(deps, {
    what: `resume container ${args.id}`,
    args: ['resume', args.id],
    signal: args.signal,
  });
}

/** Changes the limits of a container. What is absent stays; the runtime gives no promise that a failed update changed nothing. */
export async function updateContainer(
  deps: RuntimeDeps,
  args: ContainerArgs & { readonly resources: LinuxResources },
): Promise<void> {
  await mustSucceed(deps, {
    what: `update the resources of container ${args.id}`,
    args: ['update', '--resources', '-', args.id],
    input: JSON.stringify(args.resources),
    signal: args.signal,
  });
}

async function mustSucceed(deps: RuntimeDeps, call: RuntimeCall): Promise<void> {
  const result = await callRuntime(deps, call);
  if (result.exitCode !== 0) throw failure(call, result);
}

function failure(call: RuntimeCall, result: RuntimeResult): EngineError {
  return runtimeError(call.what, result.stderr, `exit code ${result.exitCode}`);
}

const statuses = ['creating', 'created', 'running', 'paused', 'stopped'] as const;

function readState(text: string, what: string): RuntimeState {
  const value = parseObject(text);
  const status = statuses.find((known) => known === value?.['status']);
  if (value === undefined || status === undefined) {
    throw new EngineError('internal', `${what}: the runtime's answer is not a container state`);
  }
  const { id, pid, bundle } = value;
  return {
    id: typeof id === 'string' ? id : '',
    pid: typeof pid === 'number' ? pid : 0,
    status,
    bundle: typeof bundle === 'string' ? bundle : '',
  };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
