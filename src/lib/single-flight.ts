import { untilAborted } from './keyed-lock.ts';

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  passengers: number;
}

/**
 * Concurrent requests for the same key share one piece of work. It runs with a signal of its own, which is
 * aborted only when the last of its passengers has gone: one client that gives up does not fail the others.
 */
export class SingleFlight<K extends string, T> {
  readonly #flights = new Map<K, Flight<T>>();

  /** Whether `do` would join work that is being done. */
  isUnderWay(key: K): boolean {
    return this.#flights.has(key);
  }

  async do(key: K, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.passengers += 1;
    try {
      return await untilAborted(flight.result, signal);
    } finally {
      flight.passengers -= 1;
      if (flight.passengers === 0) {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
        flight.controller.abort(signal.reason);
      }
    }
  }

  #start(key: K, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const result = work(controller.signal);
    const flight: Flight<T> = { result, controller, passengers: 0 };
    this.#flights.set(key, flight);
    const land = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    result.then(land, land);
    return flight;
  }
}
