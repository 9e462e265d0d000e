/** What exec and attach need of a connection, whichever protocol carries it. */
import type { Readable, Writable } from 'node:stream';
import type { WindowSize } from '../containers/process-session.ts';

/** What the client asked for when it asked for the URL. */
export interface StreamOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** How a session ended, for the error channel. */
export type SessionOutcome = { readonly exitCode: number } | { readonly failure: string };

export interface RemoteChannels {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  /** Calls back for each new size of the client's terminal. */
  onResize(listener: (size: WindowSize) => void): void;
  /** Tells the client how it ended, on the error channel. */
  report(outcome: SessionOutcome): Promise<void>;
  /** Lets everything written leave, then closes. Idempotent. */
  close(): Promise<void>;
  /** Settles when the connection is gone. */
  readonly closed: Promise<void>;
}

/** The `metav1.Status` that version 4 and 5 of the remote command protocol put on the error channel. */
export function statusJson(outcome: SessionOutcome): string {
  if ('failure' in outcome)
    return JSON.stringify({
      metadata: {},
      status: 'Failure',
      message: outcome.failure,
      reason: 'InternalError',
      code: 500,
    });
  if (outcome.exitCode === 0) return JSON.stringify({ metadata: {}, status: 'Success' });
  return JSON.stringify({
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: exit status ${outcome.exitCode}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(outcome.exitCode) }] },
  });
}

/** What versions before 4 put there: nothing for success, else a text. */
export function statusText(outcome: SessionOutcome): string {
  if ('failure' in outcome) return outcome.failure;
  return outcome.exitCode === 0
    ? ''
    : `command terminated with non-zero exit code: exit status ${outcome.exitCode}`;
}

/** Some times what a size needs. */
const maxWindowSizeChars = 1024;

/** Reads one `{"Width":80,"Height":24}`; anything else is no size. */
export function parseWindowSize(text: string): WindowSize | undefined {
  if (text.length > maxWindowSizeChars) return undefined;
  try {
    const value = JSON.parse(text) as { Width?: unknown; Height?: unknown } | null;
    const isCells = (cells: unknown): cells is number =>
      typeof cells === 'number' && Number.isInteger(cells) && cells >= 0 && cells <= 65535;
    return value !== null && isCells(value.Width) && isCells(value.Height)
      ? { columns: value.Width, rows: value.Height }
      : undefined;
  } catch {
    return undefined;
  }
}
