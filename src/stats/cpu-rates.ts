/** How fast a cgroup is using the processor, from two readings. Nothing samples in the background: the reading of one request is the base of a later one. */

interface Sample {
  readonly usageNs: bigint;
  readonly atNs: bigint;
}

interface Rated {
  readonly base: Sample;
  readonly nanoCores: number | undefined;
}

// Closer readings than this say more about the scheduler's ticks than about the load; they get the last rate again.
const leastDistanceNs = 1_000_000_000n;
// An older base would average over a time in which nobody asked.
const mostDistanceNs = 300_000_000_000n;

export class CpuRates {
  readonly #rated = new Map<string, Rated>();

  /**
   * Billionths of a core, on average since the base reading; undefined at the first reading of `key`.
   * `atNs` is from a monotonic clock.
   */
  rate(key: string, reading: Sample): number | undefined {
    const known = this.#rated.get(key);
    const elapsedNs = known === undefined ? 0n : reading.atNs - known.base.atNs;
    // Counters run backwards when a container was made anew under its key.
    const isUsable =
      known !== undefined && reading.usageNs >= known.base.usageNs && elapsedNs <= mostDistanceNs;
    if (!isUsable) {
      this.#rated.set(key, { base: reading, nanoCores: undefined });
      return undefined;
    }
    if (elapsedNs < leastDistanceNs) return known.nanoCores;
    const nanoCores = Number(((reading.usageNs - known.base.usageNs) * 1_000_000_000n) / elapsedNs);
    this.#rated.set(key, { base: reading, nanoCores });
    return nanoCores;
  }

  forget(key: string): void {
    this.#rated.delete(key);
  }
}
