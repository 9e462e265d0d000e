/** One client's hold on a process in a container, whoever carries the bytes: exec or attach. */
import type { Readable, Writable } from 'node:stream';

/** In character cells. */
export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** How the process of an exec ended. A process killed by signal N has code 128 + N. */
export interface SessionEnd {
  readonly exitCode: number;
}

export interface ProcessSession {
  /** Absent where the client did not ask for it. Ending it is the half-close that the process sees as end of input. */
  readonly stdin?: Writable;
  readonly stdout?: Readable;
  /** Absent with a terminal, whose output is one stream. */
  readonly stderr?: Readable;
  /** No effect without a terminal. */
  resize(size: WindowSize): void;
  /** The end of the process (exec) or of the container (attach). Output may still be in the streams. */
  readonly ended: Promise<SessionEnd>;
  /**
   * The client has gone: an exec's process is left to notice it by its closed streams and is then killed; an attached
   * container goes on. Idempotent.
   */
  close(): void;
}
