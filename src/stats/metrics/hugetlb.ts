import type { HugepageStats } from '../../cgroups/stats.ts';
import type { ContainerFamily } from './family.ts';

/** Huge pages by size. cgroup v2 keeps no maximum: that one has values on v1 hosts only. */
export const hugetlbFamilies: readonly ContainerFamily[] = [
  bySize('container_hugetlb_usage_bytes', 'Huge pages in use, in bytes.', ({ bytes }) => bytes),
  bySize(
    'container_hugetlb_max_usage_bytes',
    'Most huge pages ever in use, in bytes (cgroup v1 only).',
    ({ maxBytes }) => maxBytes,
  ),
];

function bySize(
  name: string,
  help: string,
  read: (pages: HugepageStats) => number | undefined,
): ContainerFamily {
  return {
    name,
    help,
    type: 'gauge',
    labels: ['pagesize'],
    read: ({ usage }) =>
      (usage.cgroup.hugepages ?? []).flatMap((pages) => {
        const value = read(pages);
        return value === undefined ? [] : [{ labels: [pages.pageSize], value }];
      }),
  };
}
