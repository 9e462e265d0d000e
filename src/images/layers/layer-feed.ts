import type { ToWorker } from './layer-jobs.ts';

/** Where the bytes of a layer go on their way into a worker's job. What it throws fails the job. */
export interface LayerFeed {
  /** Resolves when there is room for more. The chunk must not be changed afterwards. */
  take(chunk: Uint8Array): Promise<void>;
  /** Nothing more comes; resolves when all that was taken has been passed on. */
  end(): Promise<void>;
  /** What was begun is not wanted any more. */
  abandon(): void;
}

/** One that makes the tar of them by itself. */
export interface TarFeed extends LayerFeed, AsyncDisposable {
  /** Where the tar comes out. Nobody may read it after the disposal. */
  readonly tarFd: number;
}

/** Bytes under way to a worker that it has not used yet. */
const windowBytes = 4 * 1024 ** 2;

/** As messages to the worker, which tells what it has used. */
export class SentChunks implements LayerFeed {
  readonly #post: (message: ToWorker, transfer: ArrayBuffer[]) => void;
  #unusedBytes = 0;
  #onRoom: (() => void) | undefined;

  constructor(post: (message: ToWorker, transfer: ArrayBuffer[]) => void) {
    this.#post = post;
  }

  async take(chunk: Uint8Array): Promise<void> {
    // A copy: the chunk's memory may be shared with others, and goes to the worker as a whole.
    const bytes = new Uint8Array(chunk);
    this.#unusedBytes += bytes.length;
    this.#post({ name: 'chunk', bytes }, [bytes.buffer]);
    while (this.#unusedBytes > windowBytes) await this.#room();
  }

  onConsumed(bytes: number): void {
    this.#unusedBytes -= bytes;
    this.#onRoom?.();
  }

  async end(): Promise<void> {}

  abandon(): void {}

  async #room(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onRoom = resolve;
    await promise;
  }
}
