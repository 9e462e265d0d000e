/** What runCommand needs around a child process: its early end, and its output. */
import type { ChildProcess } from 'node:child_process';

/** Why a program was ended before its time. */
export type StopReason =
  | { readonly kind: 'timeout'; readonly timeoutMs: number }
  | { readonly kind: 'output'; readonly maxOutputBytes: number }
  | { readonly kind: 'aborted'; readonly cause: unknown };

const stderrTailBytes = 64 * 1024;
const killAfterMs = 2000;
// A process in an uninterruptible wait does not die of SIGKILL: the caller is told without it.
const abandonAfterMs = 5000;

/** How a program ended; both undefined for one that would not die. */
export interface Ended {
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

/** When to end the program early, and how: SIGTERM, then SIGKILL, to its process group. */
export class Termination implements Disposable {
  readonly #child: ChildProcess;
  readonly #abandoned = Promise.withResolvers<Ended>();
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

  get abandoned(): Promise<Ended> {
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
      setTimeout(
        () => this.#abandoned.resolve({ exitCode: undefined, signal: undefined }),
        killAfterMs + abandonAfterMs,
      ),
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

/** Reads both outputs as they come; `onTooMuch` is called once stdout passes `maxBytes`, the rest is dropped. */
export function collectOutput(child: ChildProcess, maxBytes: number, onTooMuch: () => void): CollectedOutput {
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
