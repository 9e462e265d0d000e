/** The shape of the metrics' tables: one row makes a descriptor and its values, so that both have the same labels. */
import type { ContainerFacts } from './container-facts.ts';

/** One value; `labels` are those of the family beyond the ones that all have, in the family's order. */
export interface Sample {
  readonly labels?: readonly string[];
  /** Whole and not negative: the wire has nothing else. */
  readonly value: bigint | number;
  /** When it was read, nanoseconds since the epoch; left out: now. */
  readonly readAtNs?: bigint;
}

/** One metric name. `read` gives no sample for what cannot be read on this host: never a zero that nobody measured. */
export interface MetricFamily<Facts> {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  /** Label keys beyond the common ones. */
  readonly labels?: readonly string[];
  readonly read: (facts: Facts) => readonly Sample[];
}

export type ContainerFamily = MetricFamily<ContainerFacts>;

/** One value of a container; undefined when it cannot be read. */
type ReadOne = (facts: ContainerFacts) => bigint | number | undefined;

const nsPerSecond = 1_000_000_000n;

/** A number that only grows while the container runs. */
export function counter(name: string, help: string, read: ReadOne): ContainerFamily {
  return { name, help, type: 'counter', read: (facts) => single(read(facts)) };
}

/** A number that goes up and down. */
export function gauge(name: string, help: string, read: ReadOne): ContainerFamily {
  return { name, help, type: 'gauge', read: (facts) => single(read(facts)) };
}

/** The wire has whole numbers only: seconds are cut, not rounded. */
export function wholeSeconds(ns: bigint | undefined): bigint | undefined {
  return ns === undefined ? undefined : ns / nsPerSecond;
}

function single(value: bigint | number | undefined): readonly Sample[] {
  return value === undefined ? [] : [{ value }];
}
