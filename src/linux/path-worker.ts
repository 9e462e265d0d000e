/**
 * Calls on paths that users give. On a dead NFS or FUSE mount any of them can block for ever; so they run in threads
 * that can be given up: a hung call costs one thread and one clear error.
 */
import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { SyscallError } from './errors.ts';
import { leaveBehindAtExit, waitForAtExit } from './hung-threads.ts';
import { IdleThreads } from './idle-threads.ts';
import type {
  PathArgs,
  PathEnvelope,
  PathOperation,
  PathReply,
  PathRequest,
  PathResult,
  PathThreadReady,
} from './path-operations.ts';
import { workerUrl } from './worker-url.ts';

interface PathWorkersOptions {
  /** Calls at once; more wait for their turn. */
  readonly maxActive?: number;
  /** Hung threads that are put up with before calls are refused. */
  readonly maxStuck?: number;
  /** Threads kept for the next call. */
  readonly maxIdle?: number;
  /** For how long. */
  readonly idleMs?: number;
  /** How long a new thread may take to be ready for its call. */
  readonly startMs?: number;
}

export class PathWorkers implements AsyncDisposable {
  readonly #permits: Semaphore;
  readonly #maxStuck: number;
  readonly #maxIdle: number;
  readonly #startMs: number;
  readonly #idle: IdleThreads;
  readonly #active = new Set<Promise<unknown>>();
  /** Threads that were given up, with the path that they hang on. */
  readonly #stuck = new Map<Worker, string>();
  #isClosed = false;

  constructor(options: PathWorkersOptions = {}) {
    this.#permits = new Semaphore(options.maxActive ?? 8);
    this.#maxStuck = options.maxStuck ?? 32;
    this.#maxIdle = options.maxIdle ?? 2;
    // A busy node may need many seconds; it must not be for ever, since others wait for the turn.
    this.#startMs = options.startMs ?? 120_000;
    this.#idle = new IdleThreads(options.idleMs ?? 30_000);
  }

  /**
   * Makes one call, whose time begins when a thread has it. After a deadline the call may still end: what it opened is then
   * closed, a bind mount whose source answers late is not made, but a directory made late stays. While a path hangs, further
   * calls on the same path are refused at once.
   * @throws EngineError deadline-exceeded naming the path, resource-exhausted when too many threads hang,
   * unavailable after disposal and when no thread starts; SyscallError for what the kernel answers
   */
  async call<O extends PathOperation>(
    operation: O,
    args: PathArgs<O>,
    timeoutMs: number,
  ): Promise<PathResult<O>> {
    this.#refuseIfStuck(args.path);
    const call = this.#queue({ operation, args } as PathRequest, timeoutMs);
    this.#active.add(call);
    try {
      return (await call) as PathResult<O>;
    } finally {
      this.#active.delete(call);
    }
  }

  /** How many threads exist without work. */
  get idleWorkers(): number {
    return this.#idle.count;
  }

  /** The paths that threads hang on. They do not keep the process from exiting. */
  get stuckPaths(): readonly string[] {
    return [...this.#stuck.values()];
  }

  /** Waits for calls under way, each at most for a thread's start and its deadline; hung threads are left behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#active);
    await this.#idle.endAll();
  }

  async #queue(request: PathRequest, timeoutMs: number): Promise<PathResult<PathOperation>> {
    using _ = await this.#permits.acquire();
    this.#refuseIfStuck(request.args.path);
    const worker = this.#idle.take() ?? (await this.#start(request));
    const isAbandoned = new Int32Array(new SharedArrayBuffer(4));
    const answer = ask(worker, { request, isAbandoned });
    const reply = await withDeadline(answer, timeoutMs);
    if (reply === undefined) {
      Atomics.store(isAbandoned, 0, 1);
      throw this.#giveUp(worker, answer, { request, timeoutMs });
    }
    this.#putBack(worker);
    return resultOf(reply);
  }

  async #start({ operation, args }: PathRequest): Promise<Worker> {
    const worker = await startWorker(this.#startMs);
    if (worker !== undefined) return worker;
    throw new EngineError(
      'unavailable',
      `${operation} ${quote(args.path)}: no thread within ${this.#startMs / 1000} s, the node is too busy`,
    );
  }

  #refuseIfStuck(path: string): void {
    if (this.#isClosed) throw new EngineError('unavailable', 'the path workers are shut down');
    for (const stuckPath of this.#stuck.values()) {
      if (stuckPath === path) {
        throw new EngineError(
          'deadline-exceeded',
          `${quote(path)} does not answer: an earlier call on it still hangs`,
        );
      }
    }
    if (this.#stuck.size >= this.#maxStuck) {
      const some = [...new Set(this.#stuck.values())].slice(0, 3).map(quote).join(', ');
      throw new EngineError('resource-exhausted', `${this.#stuck.size} calls hang on paths such as ${some}`);
    }
  }

  #putBack(worker: Worker): void {
    if (this.#isClosed || this.#idle.count >= this.#maxIdle) void worker.terminate();
    else this.#idle.keep(worker);
  }

  #giveUp(
    worker: Worker,
    answer: Promise<PathReply>,
    about: { readonly request: PathRequest; readonly timeoutMs: number },
  ): EngineError {
    const { operation, args } = about.request;
    worker.unref();
    this.#stuck.set(worker, args.path);
    leaveBehindAtExit(worker);
    const isBack = (): void => {
      this.#stuck.delete(worker);
      waitForAtExit(worker);
    };
    const isOver = (reply: PathReply): void => {
      isBack();
      // Nobody is left to close what was opened too late.
      if (operation === 'open' && reply.name === 'done' && typeof reply.result === 'number') {
        closeSync(reply.result);
      }
      this.#putBack(worker);
    };
    answer.then(isOver, isBack);
    return new EngineError(
      'deadline-exceeded',
      `${operation} ${quote(args.path)}: no answer within ${about.timeoutMs} ms, its file system hangs`,
    );
  }
}

/**
 * One that waits for its first request: on a busy node a thread takes long to start, which is no file system's fault. Without
 * tracking, because a thread's end would else close the descriptors that it opened for others. Undefined if it is not ready in time.
 */
async function startWorker(timeoutMs: number): Promise<Worker | undefined> {
  const worker = new Worker(workerUrl('./path-worker.worker', import.meta.url), { trackUnmanagedFds: false });
  const ready = await withDeadline(nextMessage<PathThreadReady>(worker, 'a thread for paths'), timeoutMs);
  if (ready !== undefined) return worker;
  void worker.terminate();
  return undefined;
}

/** One request, one reply. Rejects if the thread dies. */
async function ask(worker: Worker, envelope: PathEnvelope): Promise<PathReply> {
  const reply = nextMessage<PathReply>(worker, envelope.request.operation);
  worker.postMessage(envelope);
  return await reply;
}

async function nextMessage<T>(worker: Worker, what: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const onError = (error: unknown): void => reject(error);
  const onExit = (): void => reject(new EngineError('internal', `${what}: its thread ended`));
  worker.once('message', resolve).once('error', onError).once('exit', onExit);
  try {
    return await promise;
  } finally {
    worker.off('message', resolve).off('error', onError).off('exit', onExit);
  }
}

/** Undefined after the deadline. */
async function withDeadline<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function resultOf(reply: PathReply): PathResult<PathOperation> {
  if (reply.name === 'done') return reply.result;
  if (reply.errno === 0) throw new EngineError('internal', reply.message);
  throw new SyscallError(reply.syscall, reply.errno, { path: reply.path });
}
