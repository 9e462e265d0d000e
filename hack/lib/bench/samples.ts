/** Numbers that were measured, and what is said of them. */

export interface Summary {
  readonly count: number;
  readonly median: number;
  /** Of fewer than twenty numbers it would be the largest. */
  readonly p95: number | undefined;
}

const fewestForP95 = 20;

/** Of at least one number; nearest rank. */
export function summarize(samples: readonly number[]): Summary {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  const p95 = sorted.length < fewestForP95 ? undefined : at(0.95);
  return { count: sorted.length, median: at(0.5), p95 };
}

/** What was measured of one operation. */
export interface Measurement {
  readonly workload: string;
  readonly operation: string;
  readonly unit: 'ms' | 'MB' | '1/s' | '% CPU';
  readonly engine: string;
  readonly samples: number[];
}

/** In place of an engine's name: what the same work takes without an engine. */
export const floorName = 'floor';

/** All measurements of a run. */
export class Measurements {
  readonly #byKey = new Map<string, Measurement>();

  add(of: Omit<Measurement, 'samples'>, ...samples: readonly number[]): void {
    const key = [of.workload, of.operation, of.engine].join('\n');
    const known = this.#byKey.get(key);
    if (known === undefined) this.#byKey.set(key, { ...of, samples: [...samples] });
    else known.samples.push(...samples);
  }

  all(): readonly Measurement[] {
    return [...this.#byKey.values()];
  }
}
