import { KeyedLock, untilAborted } from '../lib/keyed-lock.ts';

/**
 * Orders CNI operations: never two on one container, any number on different ones, and GC alone
 * (a plugin that collects garbage while an ADD runs would take the new address for a leaked one).
 */
export class OperationGate {
  readonly #containers = new KeyedLock<string>();
  #running = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #exclusive: Promise<void> | undefined;

  /** Runs an operation on one container. @throws the signal's reason if it is aborted while waiting */
  async onContainer<T>(
    containerId: string,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    return await this.#containers.run(containerId, signal, async () => {
      while (this.#exclusive !== undefined) await untilAborted(this.#exclusive, signal);
      this.#running += 1;
      try {
        return await work();
      } finally {
        this.#running -= 1;
        if (this.#running === 0) this.#idle?.resolve();
      }
    });
  }

  /** Runs alone: waits for the operations that run, and those that come later wait for it. */
  async alone<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    while (this.#exclusive !== undefined) await untilAborted(this.#exclusive, signal);
    const ended = Promise.withResolvers<void>();
    this.#exclusive = ended.promise;
    try {
      if (this.#running > 0) {
        this.#idle = Promise.withResolvers<void>();
        await untilAborted(this.#idle.promise, signal);
      }
      return await work();
    } finally {
      this.#idle = undefined;
      this.#exclusive = undefined;
      ended.resolve();
    }
  }
}
