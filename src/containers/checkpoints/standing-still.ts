/**
 * The checkpoints during which containers stand still. A daemon that ends gives them up and waits for their ends: only the one that stopped
 * these containers lets them go on, or else the next daemon, whenever that comes.
 */
import { EngineError } from '../../lib/errors.ts';

export class StandingStill implements AsyncDisposable {
  readonly #end = new AbortController();
  readonly #works = new Set<Promise<void>>();

  /** Aborts when the daemon ends. */
  get ending(): AbortSignal {
    return this.#end.signal;
  }

  /** Does the work; throws what it throws. */
  async during(work: () => Promise<void>): Promise<void> {
    const done = work();
    this.#works.add(done);
    try {
      await done;
    } finally {
      this.#works.delete(done);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort(new EngineError('unavailable', 'the daemon stops'));
    await Promise.allSettled(this.#works);
  }
}
