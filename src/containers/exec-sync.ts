import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import { startPatientTimer } from '../lib/patient-timer.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { collectOutput, type OutputRoom } from './command-output.ts';
import { startProcess, type ExecDeps } from './exec.ts';

export interface ExecSyncDeps extends ExecDeps {
  readonly outputRoom: OutputRoom;
}

export interface ExecSyncRequest {
  readonly id: ContainerId;
  readonly command: readonly string[];
  /** 0 for no limit. */
  readonly timeoutMs: number;
}

export interface ExecSyncResult {
  /** In pieces: it may be long, and each copy of it counts. */
  readonly stdout: readonly Buffer[];
  readonly stderr: readonly Buffer[];
  readonly exitCode: number;
}

/**
 * Runs a command to its end. What it writes beyond 16 MiB on either output is read and dropped, without an error, and so is what it
 * writes beyond 1 MiB while other commands fill the room for more. When the time is over, or the client leaves, the command and
 * everything it started is killed.
 *
 * @throws EngineError deadline-exceeded, cancelled, not-found, failed-precondition, or why it did not start
 */
export async function execSync(
  deps: ExecSyncDeps,
  { id, command, timeoutMs }: ExecSyncRequest,
  signal: AbortSignal,
): Promise<ExecSyncResult> {
  signal.throwIfAborted();
  const session = await phase('start', () =>
    startProcess(deps, { id, command, terminal: false, stdin: false }),
  );
  using claim = deps.outputRoom.claim();
  const outputs = Promise.all([collectOutput(session.stdout, claim), collectOutput(session.stderr, claim)]);
  const stopped = Promise.withResolvers<never>();
  const onAbort = (): void => stopped.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  using _ =
    timeoutMs === 0
      ? undefined
      : startPatientTimer(timeoutMs, () => stopped.reject(timedOut(id, command, timeoutMs)));
  try {
    const { exitCode } = await phase('run', () => Promise.race([session.exit, stopped.promise]));
    const [stdout, stderr] = await phase('read the output', () => Promise.race([outputs, stopped.promise]));
    return { stdout, stderr, exitCode };
  } catch (error) {
    await session.killTree();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    session.stdout.destroy();
    session.stderr.destroy();
  }
}

function timedOut(id: ContainerId, command: readonly string[], timeoutMs: number): EngineError {
  return new EngineError(
    'deadline-exceeded',
    `exec of ${JSON.stringify(command[0])} in container ${id}: command timed out after ${timeoutMs / 1000} s`,
  );
}
