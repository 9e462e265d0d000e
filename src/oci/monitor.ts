/** Creating a container under a monitor: conmon runs the runtime's `create` and stays with the container until it ends. */
import { rmSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import { close } from '../linux/libc.ts';
import { openProcess, processStartTicks, sendSignal, watchExit } from '../linux/pidfd.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { ConmonProcess, type ConmonSetup } from './conmon.ts';
import { programOf } from './read-only-program.ts';
import { globalArguments, type RuntimeDeps } from './runtime-call.ts';
import { runtimeError } from './runtime-error.ts';
import { deleteContainer } from './runtime.ts';

export interface MonitorDeps extends RuntimeDeps {
  readonly conmon: ConmonSetup;
}

/** What conmon holds open for a container. */
export type ContainerStdin = 'none' | 'until-first-detach' | 'open';

export interface CreateContainerArgs {
  readonly id: string;
  /** Absolute; has `config.json`. conmon adds `attach`, `ctl`, `winsz`, `pidfile`, `exit`, `oom` and `conmon.log`. */
  readonly bundle: string;
  /** CRI log file; its directory exists. Left out: the output is not kept. */
  readonly logPath?: string | undefined;
  readonly terminal: boolean;
  readonly stdin: ContainerStdin;
  /** Four minutes by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Restores the processes from CRIU's images instead: they run then. The options are the runtime's. */
  readonly restore?: { readonly imageDirectory: string; readonly options: readonly string[] };
}

/** A process that outlives the daemon. Both must match before it is signalled: pids are used again. */
export interface StoredProcess {
  readonly pid: number;
  /** `/proc/PID/stat` field 22, decimal. */
  readonly startTicks: string;
}

export interface MonitoredContainer {
  readonly process: StoredProcess;
  readonly monitor: StoredProcess;
}

const defaultTimeoutMs = 240_000;
const monitorEndTimeoutMs = 5_000;

/**
 * Creates a container; its process waits for `startContainer`. When it throws, nothing of it is left: the monitor is killed and the
 * container is deleted from the runtime.
 * @throws EngineError with the runtime's message; deadline-exceeded; the signal's reason
 */
export async function createContainer(
  deps: MonitorDeps,
  args: CreateContainerArgs,
): Promise<MonitoredContainer> {
  args.signal?.throwIfAborted();
  const what = `${args.restore === undefined ? 'create' : 'restore'} container ${args.id}`;
  await using undo = new AsyncDisposableStack();
  const launch = { args: createArguments(deps, args), directory: args.bundle };
  using conmon = await phase('start conmon', () => ConmonProcess.start(deps, launch));
  undo.defer(() => discard(deps, args.id, conmon));
  conmon.admit();
  const wait = { what, timeoutMs: args.timeoutMs ?? defaultTimeoutMs, signal: args.signal };
  const [{ data: pid, message }] = await Promise.all([
    phase('conmon and the runtime', () => conmon.answer(wait)),
    phase('place conmon', () => conmon.moveBy(deps.conmon.place)),
  ]);
  if (pid <= 0) throw runtimeError(what, message ?? '', 'the runtime failed without a message');
  conmon.takeOomScoreOfDaemon();
  const startTicks = String(processStartTicks(pid) ?? 0n);
  undo.move();
  return {
    process: { pid, startTicks },
    monitor: { pid: conmon.pid, startTicks: String(conmon.startTicks) },
  };
}

/** Waits until the monitor of a container that has been deleted has ended; one that does not end by itself is killed. */
export async function awaitMonitor(
  { poller }: Pick<MonitorDeps, 'poller'>,
  { pid, startTicks }: StoredProcess,
): Promise<void> {
  const pidfd = openProcess({ pid, startTicks: BigInt(startTicks) });
  if (pidfd === undefined) return;
  const timer = setTimeout(() => sendSignal(pidfd, 'SIGKILL'), monitorEndTimeoutMs);
  try {
    await watchExit(pidfd, poller);
  } finally {
    clearTimeout(timer);
    close(pidfd);
  }
}

/** A `:` separates driver and path in conmon's option, without an escape. @throws EngineError invalid-argument */
function logOption(path: string | undefined): string {
  if (path === undefined) return 'none';
  if (path.includes(':'))
    throw new EngineError('invalid-argument', `log path ${path}: a colon is not possible in it`);
  return `k8s-file:${path}`;
}

function createArguments({ conmon, runtime }: MonitorDeps, args: CreateContainerArgs): string[] {
  return [
    '--api-version=1',
    '--sync',
    // The attach socket lies in the bundle itself: no entry in a shared directory that has to be swept.
    '--full-attach',
    // Writing the log through to the disk would delay the news of the exit.
    '--no-sync-log',
    '--log-size-max=-1',
    `--cid=${args.id}`,
    `--cuuid=${args.id}`,
    `--runtime=${programOf(runtime)}`,
    ...globalArguments(runtime).map((argument) => `--runtime-arg=${argument}`),
    `--bundle=${args.bundle}`,
    `--persist-dir=${args.bundle}`,
    `--container-pidfile=${args.bundle}/pidfile`,
    `--exit-dir=${conmon.exitDirectory}`,
    `--log-path=${logOption(args.logPath)}`,
    ...(args.terminal ? ['--terminal'] : []),
    ...(args.stdin === 'none' ? [] : ['--stdin']),
    ...(args.stdin === 'open' ? ['--leave-stdin-open'] : []),
    ...(args.restore === undefined ? [] : [`--restore=${args.restore.imageDirectory}`]),
    ...(args.restore?.options ?? []).map((option) => `--runtime-opt=${option}`),
  ];
}

async function discard(deps: RuntimeDeps, id: string, conmon: ConmonProcess): Promise<void> {
  conmon.kill();
  await conmon.exited;
  await deleteContainer(deps, { id, force: true });
  // A runtime killed in the middle of `create` leaves a directory that it does not know as a container any more.
  rmSync(`${deps.runtime.root}/${id}`, { recursive: true, force: true });
}
