/** Creating a container under a monitor: conmon runs the runtime's `create` and stays with the container until it ends. */
import { existsSync, rmSync } from 'node:fs';
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
  /** Absolute; has `config.json` when the runtime is called. conmon adds `attach`, `ctl`, `winsz`, `pidfile`, `exit`, `oom` and `conmon.log`. */
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
  await using monitor = new WaitingMonitor(deps, args);
  return await monitor.create();
}

/**
 * A monitor at its gate: it starts beside the work that its container still needs, and goes on with `create`. Disposed of without a
 * container it is killed, and leaves nothing.
 */
export class WaitingMonitor implements AsyncDisposable {
  readonly #deps: MonitorDeps;
  readonly #args: CreateContainerArgs;
  readonly #conmon: ConmonProcess;
  readonly #placed: Promise<void>;
  readonly #newLog: string | undefined;
  #state: 'waiting' | 'admitted' | 'created' = 'waiting';

  /**
   * Of the bundle only the directory has to be there.
   * @throws EngineError invalid-argument (what conmon cannot be told), failed-precondition (no conmon); the signal's reason
   */
  constructor(deps: MonitorDeps, args: CreateContainerArgs) {
    args.signal?.throwIfAborted();
    this.#deps = deps;
    this.#args = args;
    const { logPath } = args;
    this.#newLog = logPath === undefined || existsSync(logPath) ? undefined : logPath;
    const launch = { args: createArguments(deps, args), directory: args.bundle };
    this.#conmon = ConmonProcess.start(deps, launch);
    this.#placed = this.#conmon.moveBy(deps.conmon.place);
    // `create` tells of it.
    this.#placed.catch(() => undefined);
  }

  /** The bundle is complete. Throws as `createContainer`. */
  async create(): Promise<MonitoredContainer> {
    const { id, restore, signal, timeoutMs = defaultTimeoutMs } = this.#args;
    const what = `${restore === undefined ? 'create' : 'restore'} container ${id}`;
    const conmon = this.#conmon;
    this.#state = 'admitted';
    conmon.admit();
    const [{ data: pid, message }] = await Promise.all([
      phase('conmon and the runtime', () => conmon.answer({ what, timeoutMs, signal })),
      phase('place conmon', () => this.#placed),
    ]);
    if (pid <= 0) throw runtimeError(what, message ?? '', 'the runtime failed without a message');
    conmon.takeOomScoreOfDaemon();
    const startTicks = String(processStartTicks(pid) ?? 0n);
    this.#state = 'created';
    return {
      process: { pid, startTicks },
      monitor: { pid: conmon.pid, startTicks: String(conmon.startTicks) },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The end of its pipes would let conmon through the gate.
    using conmon = this.#conmon;
    if (this.#state === 'created') return;
    // Its pid is not to be another process's by then.
    await this.#placed.catch(() => undefined);
    conmon.kill();
    await conmon.exited;
    // The kubelet counts attempts by their logs where it knows no container: one that never was must not count.
    if (this.#newLog !== undefined) rmSync(this.#newLog, { force: true });
    if (this.#state === 'admitted') await discard(this.#deps, this.#args.id);
  }
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

async function discard(deps: RuntimeDeps, id: string): Promise<void> {
  await deleteContainer(deps, { id, hasEnded: false });
  // A runtime killed in the middle of `create` leaves a directory that it does not know as a container any more.
  rmSync(`${deps.runtime.root}/${id}`, { recursive: true, force: true });
}
