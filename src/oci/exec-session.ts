/** A further process in a running container: what it is started from, and what its starter holds. */
import type { Readable, Writable } from 'node:stream';
import type { TerminalSize } from './monitor-control.ts';
import type { ProcessSpec } from './spec-types.ts';

export interface ExecArgs {
  readonly containerId: string;
  /** `terminal` in it decides whether there is one. */
  readonly process: ProcessSpec;
  /** Whether there is a standard input; without it the process reads /dev/null. */
  readonly stdin: boolean;
  /** A directory (on /run) in which this exec may have one of its own while it lasts. */
  readonly directory: string;
}

/**
 * A running exec. Both outputs end soon after the process, whoever else may still hold them; they have to be read or destroyed. With a
 * terminal everything comes on `stdout`.
 */
export interface ExecSession {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /**
   * The end of the process itself; output may still be on its way through the streams. 128 plus the signal's number when a signal ended it.
   * Rejects with EngineError when the process could not be started, in the runtime's words.
   */
  readonly exit: Promise<{ readonly exitCode: number }>;
  /** Without a terminal nothing happens. */
  resize(size: TerminalSize): void;
  /** Kills the process and everything it started; `exit` then settles. */
  killTree(): Promise<void>;
}
