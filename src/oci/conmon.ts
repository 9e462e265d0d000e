/**
 * conmon, the process that holds a container's stdio, writes its log and its exit file, and outlives the daemon. It is started
 * behind a gate (the start pipe; an exec has a second one, between its attach socket and its process), and it answers on the
 * sync pipe with one line of JSON for each event: `{"data": PID}`, or `{"data": -1, "message": "..."}`.
 */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { Deadline } from '../lib/deadline.ts';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { untilAborted } from '../lib/keyed-lock.ts';
import { ChildPipes } from '../linux/child-pipes.ts';
import { spawnProcess } from '../linux/command.ts';
import type { Poller } from '../linux/poll.ts';
import { LinePipe } from './line-pipe.ts';
import { runtimeEnvironment } from './runtime-call.ts';

/** How this daemon uses conmon. */
export interface ConmonSetup {
  /** Absolute path of the program. */
  readonly path: string;
  /** Where exit files appear, one for each container, named by its id. */
  readonly exitDirectory: string;
  /** A directory of mode 0700 with a short path: the socket over which a runtime hands a terminal lies in it for a moment. */
  readonly socketDirectory: string;
  /** Puts a monitor into a cgroup outside of the pod's. The kernel takes ten milliseconds and more for it. */
  readonly place: (pid: number) => Promise<void>;
}

export interface ConmonLaunch {
  readonly args: readonly string[];
  /** conmon's working directory, where it puts its sockets and FIFOs. */
  readonly directory: string;
  /** With the pipe on which conmon says that its attach socket listens (exec only). */
  readonly withAttachPipe?: boolean;
}

export interface ConmonAnswer {
  readonly data: number;
  readonly message: string | undefined;
}

/** `what` names the attempt in errors. Without a time-out the answer may take as long as the process runs. */
interface Wait {
  readonly what: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A started conmon and the pipes to it. Disposing it closes the pipes; conmon lives on. */
export class ConmonProcess implements Disposable {
  readonly #child: ReturnType<typeof spawnProcess>;
  readonly #start: number;
  readonly #sync: LinePipe;
  readonly #attach: LinePipe | undefined;
  readonly #logFile: string;
  #startIsOpen = true;

  private constructor(
    child: ReturnType<typeof spawnProcess>,
    pipes: { readonly start: number; readonly sync: LinePipe; readonly attach: LinePipe | undefined },
    logFile: string,
  ) {
    this.#child = child;
    this.#start = pipes.start;
    this.#sync = pipes.sync;
    this.#attach = pipes.attach;
    this.#logFile = logFile;
  }

  /** Starts conmon; it waits at its gate until `admit`. */
  static start(
    deps: { readonly conmon: ConmonSetup; readonly poller: Poller },
    launch: ConmonLaunch,
  ): ConmonProcess {
    const { conmon: setup, poller } = deps;
    const logFile = `${launch.directory}/conmon.log`;
    using pipes = new ChildPipes();
    pipes.give(2, openSync(logFile, 'w', 0o600));
    const sync = pipes.output(3);
    const start = pipes.input(4);
    const attach = launch.withAttachPipe === true ? pipes.output(5) : undefined;
    const env = {
      ...runtimeEnvironment,
      TMPDIR: setup.socketDirectory,
      _OCI_SYNCPIPE: '3',
      _OCI_STARTPIPE: '4',
      ...(attach === undefined ? {} : { _OCI_ATTACHPIPE: '5' }),
    };
    const child = spawnProcess([setup.path, ...launch.args], {
      fds: pipes.fds,
      env,
      cwd: launch.directory,
      newSession: true,
      poller,
    });
    pipes.handOver();
    const ends = {
      start,
      sync: new LinePipe(sync),
      attach: attach === undefined ? undefined : new LinePipe(attach),
    };
    return new ConmonProcess(child, ends, logFile);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get startTicks(): bigint {
    return this.#child.startTicks;
  }

  get exited(): Promise<unknown> {
    return this.#child.exited;
  }

  /** Opens the gate. */
  admit(): void {
    this.#pass();
    if (this.#attach === undefined) this.#closeStart();
  }

  /**
   * Puts conmon into its cgroup, while it works: what it starts meanwhile is the runtime, which ends soon and puts the container where that
   * belongs. One that has ended already is found out by `answer`.
   */
  async moveBy(place: (pid: number) => Promise<void>): Promise<void> {
    try {
      await place(this.pid);
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error;
    }
  }

  /** The second gate, of an exec with an attach pipe: starts the process. */
  startProcess(): void {
    this.#pass();
    this.#closeStart();
  }

  #pass(): void {
    try {
      writeSync(this.#start, '\0');
    } catch (error) {
      if (errnoOf(error) !== 'EPIPE') throw error;
    }
  }

  /** The next line of the sync pipe. @throws EngineError when conmon ends without one, deadline-exceeded, or the signal's reason */
  async answer(wait: Wait): Promise<ConmonAnswer> {
    return await this.#read(this.#sync, wait);
  }

  /** Resolves when the attach socket of an exec listens. Throws as `answer`. */
  async attachIsReady(wait: Wait): Promise<void> {
    if (this.#attach === undefined)
      throw new EngineError('internal', 'conmon was started without an attach pipe');
    await this.#read(this.#attach, wait);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** conmon lowers its own oom_score_adj to -1000; it gets the daemon's back. Best effort: not every host allows it. */
  takeOomScoreOfDaemon(): void {
    try {
      writeFileSync(`/proc/${this.pid}/oom_score_adj`, readFileSync('/proc/self/oom_score_adj'));
    } catch {
      // The score stays what conmon could set itself.
    }
  }

  async #read(pipe: LinePipe, wait: Wait): Promise<ConmonAnswer> {
    using late = wait.timeoutMs === undefined ? undefined : new Deadline(wait.timeoutMs);
    const signals = [late?.signal, wait.signal].filter((signal) => signal !== undefined);
    let line: string | undefined;
    try {
      line = await untilAborted(pipe.next(), AbortSignal.any(signals));
    } catch (error) {
      if (late?.signal.aborted !== true || wait.signal?.aborted === true) throw error;
      const message = `${wait.what}: conmon did not answer within ${wait.timeoutMs} ms`;
      throw new EngineError('deadline-exceeded', message, { cause: error });
    }
    const answer = line === undefined ? undefined : parseAnswer(line);
    if (answer !== undefined) return answer;
    const said = readFileSync(this.#logFile, 'utf8').trim().slice(-1000);
    throw new EngineError(
      'internal',
      `${wait.what}: conmon ended without an answer${said === '' ? '' : `: ${said}`}`,
    );
  }

  #closeStart(): void {
    if (this.#startIsOpen) closeSync(this.#start);
    this.#startIsOpen = false;
  }

  [Symbol.dispose](): void {
    this.#closeStart();
    this.#sync[Symbol.dispose]();
    this.#attach?.[Symbol.dispose]();
  }
}

/** undefined for what is not an answer of conmon. */
function parseAnswer(line: string): ConmonAnswer | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('data' in value)) return undefined;
    if (typeof value.data !== 'number' || !Number.isInteger(value.data)) return undefined;
    const message = 'message' in value && typeof value.message === 'string' ? value.message : undefined;
    return { data: value.data, message };
  } catch {
    return undefined;
  }
}
