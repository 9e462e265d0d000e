import { Worker } from 'node:worker_threads';
import { EngineError } from '../../lib/errors.ts';
import { untilAborted } from '../../lib/keyed-lock.ts';
import { Semaphore } from '../../lib/semaphore.ts';
import { IdleThreads } from '../../linux/idle-threads.ts';
import { workerUrl } from '../../linux/worker-url.ts';
import type { FromWorker, JobResult, LayerJob, ToWorker } from './layer-jobs.ts';

/** Bytes under way to a worker that it has not used yet. */
const windowBytes = 4 * 1024 ** 2;

interface RunOptions {
  /** Sent to the worker while it works. */
  readonly source?: AsyncIterable<Uint8Array> | undefined;
  readonly signal?: AbortSignal | undefined;
}

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
    const running = this.#queue(job, { source: options.source, signal });
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

  async #queue(job: LayerJob, options: Conversation['options']): Promise<unknown> {
    using _ = await this.#turn(options);
    const worker = this.#idle.take() ?? startWorker();
    let isReusable = false;
    this.#busy.add(worker);
    try {
      const result = await new Conversation(worker, job, options).result();
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
  async #turn(options: Conversation['options']): Promise<Disposable> {
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

/** The worker is gone or unfit; what was asked of it did not happen as a whole. */
class WorkerDeath extends Error {
  readonly reason: EngineError;

  constructor(reason: EngineError) {
    super(reason.message);
    this.reason = reason;
  }
}

/** One job on one worker. */
class Conversation {
  readonly #worker: Worker;
  readonly #job: LayerJob;
  readonly options: { readonly source: AsyncIterable<Uint8Array> | undefined; readonly signal: AbortSignal };
  readonly #answer = Promise.withResolvers<unknown>();
  readonly #over = new AbortController();
  #unusedBytes = 0;
  #onRoom: (() => void) | undefined;
  #sourceError: { readonly error: unknown } | undefined;

  constructor(worker: Worker, job: LayerJob, options: Conversation['options']) {
    this.#worker = worker;
    this.#job = job;
    this.options = options;
  }

  async result(): Promise<unknown> {
    const onMessage = (message: FromWorker): void => this.#onMessage(message);
    const onError = (error: unknown): void => this.#die(`failed: ${String(error)}`);
    const onExit = (code: number): void => this.#die(`ended with code ${code}`);
    const onAbort = (): void => this.#post({ name: 'abort' });
    this.#worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    this.options.signal.addEventListener('abort', onAbort, { once: true });
    try {
      this.#post({ name: 'job', job: this.#job });
      if (this.options.signal.aborted) onAbort();
      if (this.options.source !== undefined) void this.#pump(this.options.source);
      return await this.#answer.promise;
    } catch (error) {
      if (error instanceof WorkerDeath) throw error;
      if (this.#sourceError !== undefined) throw this.#sourceError.error;
      throw this.options.signal.aborted ? this.options.signal.reason : error;
    } finally {
      this.#over.abort();
      this.options.signal.removeEventListener('abort', onAbort);
      this.#worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    }
  }

  #post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #onMessage(message: FromWorker): void {
    switch (message.name) {
      case 'consumed':
        this.#unusedBytes -= message.bytes;
        this.#onRoom?.();
        return;
      case 'done':
        this.#answer.resolve(message.result);
        return;
      case 'failed':
        this.#answer.reject(new EngineError(message.kind, message.message));
    }
  }

  #die(how: string): void {
    this.#answer.reject(new WorkerDeath(new EngineError('internal', `${this.#job.name}: its thread ${how}`)));
  }

  /** Sends the source while there is room. When the job is over first, the source is closed and not waited for. */
  async #pump(source: AsyncIterable<Uint8Array>): Promise<void> {
    const over = this.#over.signal;
    const iterator = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await untilAborted(Promise.resolve(iterator.next()), over);
        over.throwIfAborted();
        if (next.done === true) break;
        // A copy: the chunk is the caller's, who may still be writing it to a file.
        const bytes = new Uint8Array(next.value);
        this.#unusedBytes += bytes.length;
        this.#post({ name: 'chunk', bytes }, [bytes.buffer]);
        while (this.#unusedBytes > windowBytes) await untilAborted(this.#room(), over);
      }
      this.#post({ name: 'end' });
    } catch (error) {
      if (over.aborted) {
        void iterator.return?.().then(undefined, () => undefined);
        return;
      }
      this.#sourceError = { error };
      this.#post({ name: 'abort' });
    }
  }

  async #room(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onRoom = resolve;
    await promise;
  }
}
