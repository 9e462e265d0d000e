import { type ContainerFamily, gauge } from './family.ts';

/** Processes and what they hold open. */
export const processFamilies: readonly ContainerFamily[] = [
  gauge('container_processes', 'Processes.', ({ processes }) => processes.processes),
  gauge('container_threads', 'Threads.', ({ processes }) => processes.threads),
  gauge('container_threads_max', 'Most threads allowed, 0 without a limit.', ({ usage: { cgroup } }) =>
    cgroup.pids === undefined ? undefined : (cgroup.pids.limit ?? 0),
  ),
  gauge(
    'container_file_descriptors',
    'Open file descriptors; not told for a container with thousands of processes.',
    ({ processes }) => processes.fileDescriptors,
  ),
  gauge(
    'container_sockets',
    'Open sockets; not told for a container with tens of thousands of file descriptors.',
    ({ processes }) => processes.sockets,
  ),
  {
    name: 'container_ulimits_soft',
    help: 'Soft resource limits of the first process; without those that are unlimited.',
    type: 'gauge',
    labels: ['ulimit'],
    read: ({ processes }) => processes.softLimits.map(({ name, value }) => ({ labels: [name], value })),
  },
];
