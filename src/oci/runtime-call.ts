/** One call of the runtime's command line: short-lived, its output small, its end awaited. */
import { Socket } from 'node:net';
import { EngineError } from '../lib/errors.ts';
import { programPath } from '../linux/program.ts';
import { ChildPipes } from '../linux/child-pipes.ts';
import { spawnProcess } from '../linux/command.ts';
import type { Poller } from '../linux/poll.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { programOf } from './read-only-program.ts';

/** What every operation on a runtime needs. */
export interface RuntimeDeps {
  readonly runtime: OciRuntime;
  readonly poller: Poller;
}

/** `args` follow the global flags; `what` names the attempt in errors ("start container X"). */
export interface RuntimeCall {
  readonly what: string;
  readonly args: readonly string[];
  /** Standard input; without it /dev/null. */
  readonly input?: string;
  readonly wantsOutput?: boolean;
  /** Two minutes by default: a hung runtime costs one call, never the pod for good. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /**
   * The runtime works through others (CRIU) that are not to be killed at any moment: it gets this long to end by itself when time is over
   * or the signal aborts, and what it has started is killed with it after that.
   */
  readonly graceMs?: number;
}

export interface RuntimeResult {
  /** 128 plus the signal's number when a signal ended the runtime. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const defaultTimeoutMs = 120_000;
const maxOutputBytes = 4 * 1024 * 1024;

/** The environment of runtimes and monitors: fixed, nothing of the daemon's reaches a container. */
export const runtimeEnvironment: Readonly<Record<string, string>> = { PATH: programPath, LC_ALL: 'C' };

/** The flags that come before the command's name. */
export function globalArguments(runtime: OciRuntime): string[] {
  return [`--root=${runtime.root}`, ...(runtime.systemdCgroup ? ['--systemd-cgroup'] : [])];
}

/**
 * Runs the runtime to its end; an exit code other than 0 is a result, not an error. It has ended when this throws.
 * @throws EngineError deadline-exceeded when its time was over; the signal's reason when it was aborted (the runtime
 * is killed then, or with `graceMs` after that)
 */
export async function callRuntime(
  { runtime, poller }: RuntimeDeps,
  call: RuntimeCall,
): Promise<RuntimeResult> {
  call.signal?.throwIfAborted();
  using pipes = new ChildPipes();
  const stderr = pipes.output(2);
  const stdout = call.wantsOutput === true ? pipes.output(1) : undefined;
  const stdin = call.input === undefined ? undefined : pipes.input(0);
  const argv = [programOf(runtime), ...globalArguments(runtime), ...call.args];
  const child = spawnProcess(argv, { fds: pipes.fds, env: runtimeEnvironment, newSession: true, poller });
  pipes.handOver();
  // Now, not at the end: a pipe whose writing end we hold would never be seen to end.
  pipes[Symbol.dispose]();
  using errors = new CollectedPipe(stderr);
  using output = stdout === undefined ? undefined : new CollectedPipe(stdout);
  if (stdin !== undefined) writeInput(stdin, call.input ?? '');
  const exitCode = await endOf(child, call);
  await Promise.all([errors.drained(), output?.drained()]);
  return { exitCode, stdout: output?.text() ?? '', stderr: errors.text() };
}

type Child = ReturnType<typeof spawnProcess>;

async function endOf(child: Child, call: RuntimeCall): Promise<number> {
  const timeoutMs = call.timeoutMs ?? defaultTimeoutMs;
  let stopped: unknown;
  let grace: NodeJS.Timeout | undefined;
  const stop = (reason: unknown): void => {
    if (stopped !== undefined) return;
    stopped = reason;
    if (call.graceMs === undefined) child.kill('SIGKILL');
    else grace = setTimeout(() => killGroup(child), call.graceMs);
  };
  const timer = setTimeout(
    () =>
      stop(
        new EngineError('deadline-exceeded', `${call.what}: the runtime did not end within ${timeoutMs} ms`),
      ),
    timeoutMs,
  );
  const onAbort = (): void => stop(call.signal?.reason);
  call.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const { exitCode, signal } = await child.exited;
    if (stopped !== undefined) throw stopped;
    return exitCode ?? 128 + (signal ?? 0);
  } finally {
    clearTimeout(timer);
    clearTimeout(grace);
    call.signal?.removeEventListener('abort', onAbort);
  }
}

function killGroup(child: Child): void {
  // Not yet collected, so that its pid still names its group.
  if (child.kill(0)) process.kill(-child.pid, 'SIGKILL');
}

function writeInput(fd: number, input: string): void {
  const socket = new Socket({ fd, readable: false, writable: true });
  // A runtime that ends without reading its input says why by its exit code.
  socket.on('error', () => undefined);
  socket.end(input);
}

/** The text that comes out of a pipe. The process's end counts, not the pipe's: a hook that the runtime left behind may hold it. */
class CollectedPipe implements Disposable {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #sizeBytes = 0;
  #reads = 0;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk: Buffer) => {
      this.#reads += 1;
      if (this.#sizeBytes < maxOutputBytes) this.#chunks.push(chunk);
      this.#sizeBytes += chunk.length;
    });
  }

  /** Resolves when what was written before the call has been read. */
  async drained(): Promise<void> {
    for (
      let before = -1, idle = 0;
      !this.#socket.destroyed && idle < 2;
      idle = this.#reads === before ? idle + 1 : 0
    ) {
      before = this.#reads;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8');
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
