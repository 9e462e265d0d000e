import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import { startPatientTimer } from '../lib/patient-timer.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { startProcess, type ExecDeps } from './exec.ts';

/** CVE-2022-1708, CVE-2022-31030: a process that never stops writing must not fill the daemon's memory. */
const maxOutputBytes = 16 * 1024 * 1024;
/** The cap is a multiple of it. */
const pieceBytes = 64 * 1024;

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
 * Runs a command to its end. What it writes beyond 16 MiB on either output is read and dropped, without an error. When the
 * time is over, or the client leaves, the command and everything it started is killed.
 *
 * @throws EngineError deadline-exceeded, cancelled, not-found, failed-precondition, or why it did not start
 */
export async function execSync(
  deps: ExecDeps,
  { id, command, timeoutMs }: ExecSyncRequest,
  signal: AbortSignal,
): Promise<ExecSyncResult> {
  signal.throwIfAborted();
  const session = await phase('start', () =>
    startProcess(deps, { id, command, terminal: false, stdin: false }),
  );
  const outputs = Promise.all([collect(session.stdout), collect(session.stderr)]);
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

/** In pieces of one size: a process that writes byte after byte would else leave an object for each. */
async function collect(stream: Readable): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  let piece = Buffer.alloc(0);
  let used = 0;
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length && bytes < maxOutputBytes;) {
      if (used === piece.length) {
        piece = Buffer.allocUnsafeSlow(pieceBytes);
        pieces.push(piece);
        used = 0;
      }
      const copied = chunk.copy(piece, used, at);
      at += copied;
      used += copied;
      bytes += copied;
    }
  });
  await finished(stream).catch(() => undefined);
  return [...pieces.slice(0, -1), piece.subarray(0, used)];
}

function timedOut(id: ContainerId, command: readonly string[], timeoutMs: number): EngineError {
  return new EngineError(
    'deadline-exceeded',
    `exec of ${JSON.stringify(command[0])} in container ${id}: command timed out after ${timeoutMs / 1000} s`,
  );
}
