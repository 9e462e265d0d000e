/**
 * The only place that starts processes: argument vectors, never a shell. `runCommand` is for helpers whose output is wanted and that are not
 * hot (nft, CNI plugins); `spawnProcess` for conmon and the OCI runtime, which need exact descriptors and a cheap start.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
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

type StopReason =
  | { readonly kind: 'timeout'; readonly timeoutMs: number }
  | { readonly kind: 'output'; readonly maxOutputBytes: number }
  | { readonly kind: 'aborted'; readonly cause: unknown };

const stderrTailBytes = 64 * 1024;
const messageTailChars = 1000;
const killAfterMs = 2000;
// A process in an uninterruptible wait does not die of SIGKILL: the caller is told without it.
const abandonAfterMs = 5000;

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
    if (ended !== undefined) await output.drained();
    const result = { exitCode: ended?.exitCode, signal: ended?.signal, ...output.read() };
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

interface Ended {
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
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

/** When to end the program early, and how: SIGTERM, then SIGKILL, to its process group. */
class Termination implements Disposable {
  readonly #child: ChildProcess;
  readonly #abandoned = Promise.withResolvers<undefined>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #unlisten: () => void;
  #reason: StopReason | undefined;

  constructor(child: ChildProcess, timeoutMs: number, signal: AbortSignal | undefined) {
    this.#child = child;
    this.#timers.push(setTimeout(() => this.stop({ kind: 'timeout', timeoutMs }), timeoutMs));
    const onAbort = (): void => this.stop({ kind: 'aborted', cause: signal?.reason });
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#unlisten = () => signal?.removeEventListener('abort', onAbort);
  }

  get reason(): StopReason | undefined {
    return this.#reason;
  }

  get abandoned(): Promise<undefined> {
    return this.#abandoned.promise;
  }

  /** The first reason counts. */
  stop(reason: StopReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#signalGroup('SIGTERM');
    // What the program started may ignore SIGTERM. The group's number cannot be taken again this soon, even if nobody is left in it.
    this.#child.once('exit', () => this.#signalGroup('SIGKILL'));
    this.#timers.push(
      setTimeout(() => this.#signalGroup('SIGKILL'), killAfterMs),
      setTimeout(() => this.#abandoned.resolve(undefined), killAfterMs + abandonAfterMs),
    );
  }

  #signalGroup(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // Everything in the group has ended already.
    }
  }

  [Symbol.dispose](): void {
    this.#unlisten();
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

interface CollectedOutput {
  read(): { readonly stdout: Buffer; readonly stderr: string };
  /** Resolves when all that the ended program wrote has been read, though a process that it left behind holds the pipes. */
  drained(): Promise<void>;
}

function collectOutput(child: ChildProcess, maxBytes: number, onTooMuch: () => void): CollectedOutput {
  const stdout: Buffer[] = [];
  let stdoutBytes = 0;
  let stderr = Buffer.alloc(0);
  let reads = 0;
  let closed = false;
  child.stdout?.on('data', (chunk: Buffer) => {
    reads += 1;
    stdoutBytes += chunk.length;
    if (stdoutBytes > maxBytes) onTooMuch();
    else stdout.push(chunk);
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    reads += 1;
    stderr = Buffer.concat([stderr, chunk]).subarray(-stderrTailBytes);
  });
  child.once('close', () => {
    closed = true;
  });
  return {
    read: () => ({ stdout: Buffer.concat(stdout), stderr: stderr.toString('utf8') }),
    async drained() {
      // Each turn of the event loop reads what is readable: two turns without a read, and the pipes are empty.
      for (let before = -1, idle = 0; !closed && idle < 2; idle = reads === before ? idle + 1 : 0) {
        before = reads;
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
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
