/** Saving the processes of a container with CRIU, which the runtime starts. They run on. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, messageOf } from '../lib/errors.ts';
import { callRuntime, type RuntimeDeps } from './runtime-call.ts';
import { runtimeError } from './runtime-error.ts';
import { type ContainerArgs, containerState, pauseContainer, resumeContainer } from './runtime.ts';

export interface CheckpointArgs extends ContainerArgs {
  /** An empty directory, for CRIU's images. */
  readonly imageDirectory: string;
  /** Another one, for `dump.log` and `stats-dump`. */
  readonly workDirectory: string;
  readonly timeoutMs: number;
}

/**
 * CRIU works inside of the processes that it saves, with code, registers and signal masks of its own: who kills it there may leave them
 * with these. A small container is done within this; a large one is then being read, and its processes leave CRIU's code by themselves.
 */
const graceMs = 10_000;

/**
 * Saves all processes of a running or paused container, which is then as it was before. When time is over, or the signal aborts, what was
 * begun is ended first if it takes no longer than ten seconds, and CRIU killed otherwise.
 * @throws EngineError with CRIU's reason; deadline-exceeded; the signal's reason
 */
export async function checkpointContainer(deps: RuntimeDeps, args: CheckpointArgs): Promise<void> {
  const what = `checkpoint container ${args.id}`;
  const { exitCode, stderr } = await callRuntime(deps, {
    what,
    args: [
      'checkpoint',
      `--image-path=${args.imageDirectory}`,
      `--work-path=${args.workDirectory}`,
      '--leave-running',
      // What a server normally holds; without these CRIU refuses it.
      '--tcp-established',
      '--file-locks',
      args.id,
    ],
    timeoutMs: args.timeoutMs,
    signal: args.signal,
    graceMs,
  });
  if (exitCode === 0) return;
  const reason = criuReason(`${args.workDirectory}/dump.log`);
  if (reason === undefined) throw runtimeError(what, stderr, `exit code ${exitCode}`);
  throw new EngineError('failed-precondition', `${what}: CRIU: ${reason}`);
}

const freezeAttempts = 5;
const betweenAttemptsMs = 100;
const freezeTimeoutMs = 10_000;

/**
 * Freezes all processes of a running container. On cgroup v1 runc looks a thousand times, which takes it milliseconds, and gives up: a
 * process that waits for a processor of a busy host has not frozen by then.
 * @throws EngineError with the runtime's message; the signal's reason. Who calls thaws what may be frozen.
 */
export async function freezeContainer(deps: RuntimeDeps, { id, signal }: ContainerArgs): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      // To its end: nobody knows what a runtime that was killed has frozen.
      return await pauseContainer(deps, { id, timeoutMs: freezeTimeoutMs });
    } catch (error) {
      if (attempt === freezeAttempts || !/unable to freeze/.test(messageOf(error))) throw error;
    }
    await sleep(betweenAttemptsMs);
    signal?.throwIfAborted();
  }
}

/** Thaws a container that somebody froze. One that is not frozen, or not there, stays as it is. */
export async function resumeIfPaused(deps: RuntimeDeps, args: ContainerArgs): Promise<void> {
  const state = await containerState(deps, args);
  if (state?.status === 'paused') await resumeContainer(deps, args);
}

const maxReasonLength = 500;

/** The errors of CRIU's log, the first of which mostly says why. undefined when there is none. */
export function criuReason(logFile: string): string | undefined {
  const errors = readLog(logFile)
    .split('\n')
    .flatMap((line) => /Error \([^)]*\): (.*)$/.exec(line)?.[1]?.trim() ?? [])
    // Said on every host that keeps CRIU from raising its own limit of open files; it goes on without.
    .filter((text) => !text.startsWith('rlimit:'));
  return errors.length === 0 ? undefined : errors.slice(0, 4).join('; ').slice(0, maxReasonLength);
}

function readLog(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
