/** All metrics that there are, and how values are made from readings. */
import { cpuFamilies } from './cpu.ts';
import { diskFamilies } from './disk.ts';
import type { ContainerFamily, MetricFamily } from './family.ts';
import { hugetlbFamilies } from './hugetlb.ts';
import { memoryFamilies } from './memory.ts';
import { networkFamilies } from './network.ts';
import { oomFamilies } from './oom.ts';
import { pressureFamilies } from './pressure.ts';
import { processFamilies } from './process.ts';
import { specFamilies } from './spec.ts';

export interface MetricDescriptor {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly labelKeys: readonly string[];
}

/** `labelValues` in the order of the descriptor's `labelKeys`. */
export interface Metric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly labelValues: readonly string[];
  readonly value: bigint;
  /** When it was read, nanoseconds since the epoch; left out: now. */
  readonly readAtNs?: bigint;
}

/** Whose metric it is: what every one carries. A pod's own have no container and no image. */
export interface MetricOwner {
  readonly pod: string;
  readonly namespace: string;
  readonly container: string;
  readonly id: string;
  readonly image: string;
}

/** The metrics of containers; those of pods are `networkFamilies`. */
export const containerFamilies: readonly ContainerFamily[] = [
  ...cpuFamilies,
  ...memoryFamilies,
  ...diskFamilies,
  ...processFamilies,
  ...hugetlbFamilies,
  ...oomFamilies,
  ...specFamilies,
  ...pressureFamilies,
];

const commonLabels = [
  'pod',
  'namespace',
  'container',
  'id',
  'image',
] as const satisfies (keyof MetricOwner)[];

/** Every metric that may be served; the same in each call. */
export function metricDescriptors(): MetricDescriptor[] {
  return [...containerFamilies, ...networkFamilies].map(({ name, help, type, labels = [] }) => ({
    name,
    help,
    type,
    labelKeys: [...commonLabels, ...labels],
  }));
}

/** The values of one owner, in the order of the tables. */
export function metricsOf<Facts>(
  families: readonly MetricFamily<Facts>[],
  facts: Facts,
  owner: MetricOwner,
): Metric[] {
  const common = commonLabels.map((label) => owner[label]);
  return families.flatMap(({ name, type, read }) =>
    read(facts).map(({ labels = [], value, readAtNs }) => ({
      name,
      type,
      labelValues: [...common, ...labels],
      value: BigInt(value),
      ...(readAtNs === undefined ? {} : { readAtNs }),
    })),
  );
}
