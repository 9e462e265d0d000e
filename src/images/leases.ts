/** What running pulls need although no image refers to it yet. In memory: a pull does not outlive the daemon. */
import type { Digest } from '../lib/ids.ts';

export interface Lease extends Disposable {
  /** Protects a blob or a layer until the lease is disposed. */
  add(digest: Digest): void;
}

export class Leases {
  readonly #holders = new Map<Digest, number>();

  /** Everything that is protected. */
  held(): Iterable<Digest> {
    return this.#holders.keys();
  }

  has(digest: Digest): boolean {
    return this.#holders.has(digest);
  }

  open(): Lease {
    const held = new Set<Digest>();
    return {
      add: (digest) => {
        if (held.has(digest)) return;
        held.add(digest);
        this.#holders.set(digest, (this.#holders.get(digest) ?? 0) + 1);
      },
      [Symbol.dispose]: () => {
        for (const digest of held) this.#release(digest);
        held.clear();
      },
    };
  }

  #release(digest: Digest): void {
    const left = (this.#holders.get(digest) ?? 0) - 1;
    if (left > 0) this.#holders.set(digest, left);
    else this.#holders.delete(digest);
  }
}
