interface Hangs {
  readonly count: number;
  readonly lastAtMs: number;
}

/** One that has been well for so long begins anew. */
const forgottenAfterMs = 10 * 60_000;
/** A node under load makes anything slow now and then. */
const freeHangs = 2;
const firstWaitMs = 10_000;
const longestWaitMs = 5 * 60_000;

/**
 * Remembers which plugins had to be disconnected because they did not answer. Each time costs the requests that waited for it: one
 * that comes back only to hang again must not be the pace of the node.
 */
export class HangRecord {
  readonly #hangs = new Map<string, Hangs>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  note(label: string): void {
    const lastAtMs = this.#nowMs();
    for (const [other, hangs] of this.#hangs)
      if (lastAtMs - hangs.lastAtMs > forgottenAfterMs) this.#hangs.delete(other);
    this.#hangs.set(label, { count: (this.#hangs.get(label)?.count ?? 0) + 1, lastAtMs });
  }

  /** How long a plugin of this name has to stay away still; 0 when it may register. */
  waitMs(label: string): number {
    const hangs = this.#hangs.get(label);
    if (hangs === undefined || hangs.count <= freeHangs) return 0;
    const wait = Math.min(firstWaitMs * 2 ** (hangs.count - freeHangs - 1), longestWaitMs);
    return Math.max(0, hangs.lastAtMs + wait - this.#nowMs());
  }
}
