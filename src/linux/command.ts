/**
 * The only place that starts processes: argument vectors, never a shell. `runCommand` is for helpers whose output is wanted and that are not
 * hot (nft, CNI plugins); `spawnProcess` for conmon and the OCI runtime, which need exact descriptors and a cheap start.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { adoptChild, type ChildProcessHandle } from './child.ts';
import { collectOutput, type Ended, type StopReason, Termination } from './command-run.ts';
import type { Poller } from './poll.ts';
import { spawnInNewSession } from './posix-spawn.ts';
import { findProgram, programPath } from './program.ts';

export interface CommandOptions {
  /** Written to standard input, which is then closed; without it standard input is /dev/null. */
  readonly input?: string | Uint8Array;
  /** The whole environment; by default only PATH and the C locale. Nothing is inherited from the daemon. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** 60 seconds by default. */
  readonly timeoutMs?: number;
  /** Limit for standard output, 16 MiB by default; a program that writes more is ended. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal | undefined;
  /** Throw CommandError for an exit code other than 0 and for an end by a signal. */
  readonly check?: boolean;
}

export interface CommandResult {
  /** undefined when a signal ended the program. */
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: Buffer;
  /** The last 64 KiB. */
  readonly stderr: string;
}

/** A program that failed, hung or wrote too much. The fields are the truth, the message is made from them. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly timedOut: boolean;

  constructor(argv: readonly string[], result: CommandResult, stopped?: StopReason) {
    super(commandMessage(argv, result, stopped));
    this.argv = argv;
    this.exitCode = result.exitCode;
    this.signal = result.signal;
    this.stdout = result.stdout;
    this.stderr = result.stderr;
    this.timedOut = stopped?.kind === 'timeout';
  }
}

const messageTailChars = 1000;

/**
 * Runs a program to its end and collects its output. A program that starts others and leaves them holding its output is not waited for:
 * the end of the program itself counts. On a deadline, a cancelled signal or too much output its whole process group gets SIGTERM, then
 * SIGKILL, and the call fails only after it has ended.
 * Throws EngineError for a program that is missing or cannot be started, CommandError for a deadline and too much output (and for a failure when
 * `check` is set), and the signal's reason when it was aborted.
 */
export async function runCommand(
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { timeoutMs = 60_000, maxOutputBytes = 16 * 1024 * 1024, signal, check = false } = options;
  signal?.throwIfAborted();
  const child = start(argv, options);
  using termination = new Termination(child, timeoutMs, signal);
  const output = collectOutput(child, maxOutputBytes, () =>
    termination.stop({ kind: 'output', maxOutputBytes }),
  );
  try {
    const ended = await Promise.race([endOf(child, argv), termination.abandoned]);
    await output.drained();
    const result = { ...ended, ...output.read() };
    const stopped = termination.reason;
    if (stopped?.kind === 'aborted') throw stopped.cause;
    if (stopped !== undefined || (check && result.exitCode !== 0)) {
      throw new CommandError(argv, result, stopped);
    }
    return result;
  } finally {
    for (const stream of child.stdio) stream?.destroy();
  }
}

export interface SpawnOptions {
  /** Descriptor in the child -> ours, which the caller still closes. 0, 1 and 2 are /dev/null unless named; the child gets no others. */
  readonly fds: ReadonlyMap<number, number>;
  /** The whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The child leads a session of its own: signals to the daemon's group do not reach it, and it outlives the daemon. */
  readonly newSession: true;
  /** Tells when the process ends. */
  readonly poller: Poller;
}

/**
 * Starts a process that may outlive the daemon: all signals at their defaults, none blocked, exactly the named descriptors.
 * Costs the event loop 0.1 ms where runCommand costs 1 ms and more. RLIMIT_NOFILE is inherited as Node has raised it.
 * Throws EngineError for a missing program, SyscallError when it cannot be started.
 */
export function spawnProcess(argv: readonly string[], options: SpawnOptions): ChildProcessHandle {
  const { fds, env, cwd, poller } = options;
  const program = findProgram(argv[0] ?? '');
  return adoptChild(spawnInNewSession({ program, argv, env, fds, cwd }), poller);
}

function start(argv: readonly string[], options: CommandOptions): ChildProcess {
  const [name = '', ...args] = argv;
  const child = spawn(findProgram(name), args, {
    argv0: name,
    // A session of its own is also a process group of its own: what the program starts can be ended with it.
    detached: true,
    env: options.env ?? { PATH: programPath, LC_ALL: 'C' },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  // A program that ends without reading all of its input is no error of ours: its exit code tells.
  child.stdin?.on('error', () => {});
  child.stdin?.end(options.input);
  return child;
}

async function endOf(child: ChildProcess, argv: readonly string[]): Promise<Ended> {
  const ended = Promise.withResolvers<Ended>();
  child.once('exit', (exitCode, signal) =>
    ended.resolve({ exitCode: exitCode ?? undefined, signal: signal ?? undefined }),
  );
  child.once('error', (cause) => {
    const kind = errnoOf(cause) === 'ENOENT' ? 'failed-precondition' : EngineError.from(cause).kind;
    ended.reject(new EngineError(kind, `cannot start ${argv[0] ?? ''}: ${messageOf(cause)}`, { cause }));
  });
  return await ended.promise;
}

function commandMessage(argv: readonly string[], result: CommandResult, stopped?: StopReason): string {
  const tail = result.stderr.trim().slice(-messageTailChars);
  return `${argv.join(' ').slice(0, 300)}: ${howItEnded(result, stopped)}${tail === '' ? '' : `: ${tail}`}`;
}

function howItEnded(result: CommandResult, stopped: StopReason | undefined): string {
  switch (stopped?.kind) {
    case 'timeout':
      return `did not end within ${stopped.timeoutMs} ms and was killed`;
    case 'output':
      return `wrote more than ${stopped.maxOutputBytes} bytes and was killed`;
    case 'aborted':
      return 'was cancelled';
    default:
      return result.signal === undefined ? `exit code ${result.exitCode}` : `ended by ${result.signal}`;
  }
}
