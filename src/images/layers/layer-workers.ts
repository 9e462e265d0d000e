import { Worker } from 'node:worker_threads';
import { EngineError } from '../../lib/errors.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { IdleThreads } from '../../linux/idle-threads.ts';
import { workerUrl } from '../../linux/worker-url.ts';
import { Conversation, WorkerDeath } from './layer-conversation.ts';
import type { TarFeed } from './layer-feed.ts';
import type { JobResult, LayerJob } from './layer-jobs.ts';

interface RunOptions {
  /** What the job works on, where it does not read a file. */
  readonly source?: AsyncIterable<Uint8Array> | undefined;
  /** Called when a thread is free; undefined sends the source to it. */
  readonly openFeed?: (() => TarFeed | undefined) | undefined;
  readonly signal?: AbortSignal | undefined;
}

type QueuedOptions = RunOptions & { readonly signal: AbortSignal };

/**
 * Threads for layer jobs, started when there is work and ended after a while without. A job that is aborted is undone
 * by its worker before the call rejects.
 */
export class LayerWorkers implements AsyncDisposable {
  readonly #permits: Semaphore;
  readonly #idle: IdleThreads;
  readonly #busy = new Set<Worker>();
  readonly #running = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();

  constructor(options: { readonly maxWorkers: number; readonly idleMs?: number }) {
    this.#idle = new IdleThreads(options.idleMs ?? 30_000);
    this.#permits = new Semaphore(options.maxWorkers);
  }

  /** @throws EngineError of the job, the source's error if that failed, the signal's reason if it was aborted */
  async run<J extends LayerJob>(job: J, options: RunOptions = {}): Promise<JobResult<J>> {
    const closing = this.#closing.signal;
    const signal = options.signal === undefined ? closing : AbortSignal.any([options.signal, closing]);
    const running = this.#queue(job, { ...options, signal });
    this.#running.add(running);
    try {
      return (await running) as JobResult<J>;
    } finally {
      this.#running.delete(running);
    }
  }

  /** How many threads exist without work. */
  get idleWorkers(): number {
    return this.#idle.count;
  }

  /**
   * Ends as disposal does, but at once: in the middle of jobs, which reject. For jobs that can be begun again, at the end of
   * the process: what they have open stays so.
   */
  async breakOff(): Promise<void> {
    const ended = this[Symbol.asyncDispose]();
    await Promise.all([...this.#busy].map(async (worker) => await worker.terminate()));
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new EngineError('unavailable', 'the layer workers are shutting down'));
    await Promise.allSettled(this.#running);
    await this.#idle.endAll();
  }

  async #queue(job: LayerJob, options: QueuedOptions): Promise<unknown> {
    using _ = await this.#turn(options);
    await using feed = options.openFeed?.();
    const worker = this.#idle.take() ?? startWorker();
    let isReusable = false;
    this.#busy.add(worker);
    try {
      const result = await new Conversation(worker, job, { ...options, feed }).result();
      isReusable = true;
      return result;
    } catch (error) {
      isReusable = !(error instanceof WorkerDeath);
      throw error instanceof WorkerDeath ? error.reason : error;
    } finally {
      this.#busy.delete(worker);
      if (isReusable) this.#idle.keep(worker);
      else await worker.terminate();
    }
  }

  /** A source that will not be read is closed, so that its download ends too. */
  async #turn(options: QueuedOptions): Promise<Disposable> {
    try {
      const permit = await this.#permits.acquire(options.signal);
      if (!options.signal.aborted) return permit;
      permit[Symbol.dispose]();
      throw options.signal.reason;
    } catch (error) {
      void options.source?.[Symbol.asyncIterator]().return?.();
      throw error;
    }
  }
}

/** Without tracking: descriptors are made and closed by FFI too, which Node's tracking does not see. */
function startWorker(): Worker {
  return new Worker(workerUrl('./layer.worker', import.meta.url), { trackUnmanagedFds: false });
}
