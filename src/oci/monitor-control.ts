/** The control FIFO of a running conmon: terminal size and log rotation. It carries one-way messages, nothing answers. */
import { closeSync, constants, openSync, statSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/**
 * conmon reads up to 199 bytes at once and looks at the first line only: each message is filled up to that length (its
 * scanner skips the spaces), so that two messages are never one read.
 */
const messageBytes = 199;

// Behind the control FIFO there is a second pipe inside conmon with the same fault, which cannot be filled up: sizes have to keep a distance.
const resizeDistanceMs = 30;
const reopenPollMs = 2;

/** Sends terminal sizes to one conmon. Quick successions are thinned out, the last one always arrives. */
export class TerminalResizer implements Disposable {
  readonly #directory: string;
  #next: TerminalSize | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** `directory` is the one conmon was started with. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A process that has ended meanwhile needs no size: that is no error. */
  resize(size: TerminalSize): void {
    this.#next = size;
    if (this.#timer === undefined) this.#send();
  }

  #send(): void {
    const size = this.#next;
    this.#timer = undefined;
    if (size === undefined) return;
    try {
      sendControl(this.#directory, `1 ${cells(size.rows)} ${cells(size.columns)}`);
      this.#next = undefined;
    } catch (error) {
      if (isGone(error)) return;
      // A stuck monitor, or no descriptor left: it is told later. Nobody could hear an error of the timer.
    }
    this.#timer = setTimeout(() => this.#send(), resizeDistanceMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * Makes conmon write to a new file at `logPath`; returns when that file is there. conmon puts the new file in place by renaming, so
 * an old one that was not moved away is replaced.
 * @throws EngineError failed-precondition when the monitor is gone, deadline-exceeded when no new file appeared
 */
export async function reopenLog(args: {
  readonly directory: string;
  readonly logPath: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<void> {
  const before = fileIdentity(args.logPath);
  try {
    sendControl(args.directory, '2 0 0');
  } catch (error) {
    const kind = isGone(error) ? 'failed-precondition' : 'internal';
    throw new EngineError(
      kind,
      `reopen log ${args.logPath}: the monitor does not listen: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  const deadline = Date.now() + args.timeoutMs;
  for (;;) {
    const now = fileIdentity(args.logPath);
    if (now !== undefined && now !== before) return;
    if (Date.now() > deadline) {
      throw new EngineError(
        'deadline-exceeded',
        `reopen log ${args.logPath}: no new file within ${args.timeoutMs} ms`,
      );
    }
    await sleep(reopenPollMs, undefined, { signal: args.signal });
  }
}

/** @throws ENXIO when no conmon reads the FIFO, ENOENT when it has none, EAGAIN when it is stuck and the FIFO is full */
function sendControl(directory: string, message: string): void {
  const fd = openSync(`${directory}/ctl`, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    writeSync(fd, `${message.padStart(messageBytes - 1)}\n`);
  } finally {
    closeSync(fd);
  }
}

function isGone(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENXIO' || code === 'ENOENT' || code === 'EPIPE';
}

/** Terminal sizes are 16 bits in the kernel; the wire may bring anything. */
function cells(count: number): number {
  return Math.min(Math.max(Math.trunc(count) || 0, 0), 65_535);
}

function fileIdentity(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
}
