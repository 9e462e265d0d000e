import { type ContainerFamily, counter } from './family.ts';

/** Kills for want of memory. */
export const oomFamilies: readonly ContainerFamily[] = [
  counter(
    'container_oom_events_total',
    'Processes of the container that were killed for want of memory.',
    ({ usage }) => usage.cgroup.memory?.oomKills,
  ),
];
