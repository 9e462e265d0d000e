import { EngineError } from '../lib/errors.ts';

const maxQueuedEvents = 10_000;

/** Events on their way to one client. One that does not read loses its stream, not the daemon its memory. */
export class EventQueue<E> {
  #events: E[] = [];
  #hasOverflown = false;
  #wake: (() => void) | undefined;

  /** May be called while nobody reads: what no longer fits lets go of all that is queued, and the reader hears of it. */
  push(event: E): void {
    if (this.#hasOverflown) return;
    this.#events.push(event);
    if (this.#events.length > maxQueuedEvents) {
      this.#hasOverflown = true;
      this.#events = [];
    }
    this.#wake?.();
  }

  /** Ends when the signal is aborted. One reader. @throws EngineError resource-exhausted if it fell too far behind */
  async *read(signal: AbortSignal): AsyncIterable<E> {
    const onAbort = (): void => this.#wake?.();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted) {
        if (this.#hasOverflown)
          throw new EngineError('resource-exhausted', `${maxQueuedEvents} events were waiting to be read`);
        const event = this.#events.shift();
        if (event !== undefined) yield event;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}
