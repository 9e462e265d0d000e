/** Mutual exclusion per key, first come first served. One lock orders all work on one pod, container or layer. */
export class KeyedLock<K extends string> {
  readonly #tails = new Map<K, Promise<void>>();

  /**
   * Waits for its turn on `key`. The lock is held until the returned value is disposed.
   * @throws the signal's reason if it is aborted while waiting; the place in the queue is then given up.
   */
  async acquire(key: K, signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    const before = this.#tails.get(key) ?? Promise.resolve();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const tail = before.then(() => released);
    this.#tails.set(key, tail);
    void tail.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    try {
      await untilAborted(before, signal);
    } catch (error) {
      release();
      throw error;
    }
    return { [Symbol.dispose]: release };
  }

  /** Runs `work` alone on `key`. */
  async run<T>(key: K, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    using _ = await this.acquire(key, signal);
    return await work();
  }
}

/** Settles with `promise`, or rejects with the signal's reason when it is aborted first. Leaves no listener behind. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
