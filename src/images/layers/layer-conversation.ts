/** One job on one worker: what is said between the two sides, and what the job is fed with meanwhile. */
import type { Worker } from 'node:worker_threads';
import { EngineError } from '../../lib/errors.ts';
import { untilAborted } from '../../lib/keyed-lock.ts';
import { type LayerFeed, SentChunks, type TarFeed } from './layer-feed.ts';
import type { FromWorker, LayerJob, ToWorker } from './layer-jobs.ts';

export interface ConversationOptions {
  /** What the job works on, where it does not read a file. */
  readonly source?: AsyncIterable<Uint8Array> | undefined;
  /** Where the source goes; without it to the worker. The job is over before it is disposed of, which is the caller's. */
  readonly feed?: TarFeed | undefined;
  readonly signal: AbortSignal;
}

/** The worker is gone or unfit; what was asked of it did not happen as a whole. */
export class WorkerDeath extends Error {
  readonly reason: EngineError;

  constructor(reason: EngineError) {
    super(reason.message);
    this.reason = reason;
  }
}

export class Conversation {
  readonly #worker: Worker;
  readonly #job: LayerJob;
  readonly #options: ConversationOptions;
  readonly #sent = new SentChunks((message, transfer) => this.#post(message, transfer));
  readonly #feed: LayerFeed;
  readonly #answer = Promise.withResolvers<unknown>();
  readonly #over = new AbortController();
  #sourceError: { readonly error: unknown } | undefined;

  constructor(worker: Worker, job: LayerJob, options: ConversationOptions) {
    this.#worker = worker;
    this.#job = job;
    this.#options = options;
    this.#feed = options.feed ?? this.#sent;
  }

  async result(): Promise<unknown> {
    const onMessage = (message: FromWorker): void => this.#onMessage(message);
    const onError = (error: unknown): void => this.#die(`failed: ${String(error)}`);
    const onExit = (code: number): void => this.#die(`ended with code ${code}`);
    const onAbort = (): void => this.#breakOff();
    this.#worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    this.#options.signal.addEventListener('abort', onAbort, { once: true });
    try {
      this.#post({ name: 'job', job: this.#job, tarFd: this.#options.feed?.tarFd });
      if (this.#options.signal.aborted) onAbort();
      if (this.#options.source !== undefined) void this.#pump(this.#options.source);
      return await this.#answer.promise;
    } catch (error) {
      if (error instanceof WorkerDeath) throw error;
      if (this.#sourceError !== undefined) throw this.#sourceError.error;
      throw this.#options.signal.aborted ? this.#options.signal.reason : error;
    } finally {
      this.#over.abort();
      this.#options.signal.removeEventListener('abort', onAbort);
      this.#worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    }
  }

  #post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #onMessage(message: FromWorker): void {
    switch (message.name) {
      case 'consumed':
        this.#sent.onConsumed(message.bytes);
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

  #breakOff(): void {
    this.#post({ name: 'abort' });
    this.#feed.abandon();
  }

  /** Feeds the source while there is room. When the job is over first, the source is closed and not waited for. */
  async #pump(source: AsyncIterable<Uint8Array>): Promise<void> {
    const over = this.#over.signal;
    const iterator = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        over.throwIfAborted();
        const next = await untilAborted(Promise.resolve(iterator.next()), over);
        if (next.done === true) break;
        await untilAborted(this.#feed.take(next.value), over);
      }
      await untilAborted(this.#feed.end(), over);
      // The worker may have another job by now, for which this would be a false word.
      over.throwIfAborted();
      this.#post({ name: 'end' });
    } catch (error) {
      void iterator.return?.().then(undefined, () => undefined);
      // What was broken off from outside is no fault of the source.
      if (over.aborted || this.#options.signal.aborted) return;
      this.#sourceError = { error };
      this.#breakOff();
    }
  }
}
