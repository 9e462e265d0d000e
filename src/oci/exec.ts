/** A further process in a running container. */
import type { Readable, Writable } from 'node:stream';
import { startDirectExec } from './exec-direct.ts';
import { startMonitoredExec } from './exec-monitored.ts';
import type { TerminalSize } from './monitor-control.ts';
import type { MonitorDeps } from './monitor.ts';
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

/**
 * Starts a process in a running container and returns at once: what goes wrong is told by `exit`. Without a terminal crun starts it by
 * itself; with one, and for other runtimes, conmon stands between (runc copies all output itself and waits for the last holder
 * of a pipe, which a process left behind never lets go).
 */
export function startExec(deps: MonitorDeps, args: ExecArgs): ExecSession {
  const canBeDirect = deps.runtime.kind === 'crun' && args.process.terminal !== true;
  const session = canBeDirect ? startDirectExec(deps, args) : startMonitoredExec(deps, args);
  // A caller that first waits for its client must not bring the daemon down.
  session.exit.catch(() => undefined);
  return session;
}
