/** The RPCs on usage. */
import {
  type ContainerStatsFilter,
  type PodSandboxStatsFilter,
  StreamContainerStatsResponse,
  StreamPodSandboxStatsResponse,
} from '../gen/runtime/v1/api.ts';
import type { ContainerFilter } from '../containers/list.ts';
import type { SandboxFilter } from '../sandbox/list.ts';
import {
  containerUsage,
  listContainerUsage,
  listPodUsage,
  podUsage,
  type UsageDeps,
} from '../stats/usage.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { pages } from './pages.ts';
import { requiredText, textOf } from './translate/fields.ts';
import { containerStatsToWire, podStatsToWire } from './translate/stats.ts';

type StatsHandlers = Pick<
  RuntimeHandlers,
  | 'containerStats'
  | 'listContainerStats'
  | 'streamContainerStats'
  | 'podSandboxStats'
  | 'listPodSandboxStats'
  | 'streamPodSandboxStats'
>;

export function statsHandlers(deps: UsageDeps): StatsHandlers {
  const containers = async (filter: ContainerStatsFilter | undefined, signal: AbortSignal) =>
    (await listContainerUsage(deps, containerFilter(filter), signal)).map(containerStatsToWire);
  const pods = async (filter: PodSandboxStatsFilter | undefined, signal: AbortSignal) =>
    (await listPodUsage(deps, podFilter(filter), signal)).map(podStatsToWire);
  return {
    async containerStats({ containerId }) {
      const container = deps.containers.mustFind(requiredText(containerId, 'container_id'));
      return { stats: containerStatsToWire(await containerUsage(deps, container)) };
    },
    async listContainerStats({ filter }, signal) {
      return { stats: await containers(filter, signal) };
    },
    async *streamContainerStats({ filter }, signal) {
      yield* pages(await containers(filter, signal), (one) =>
        StreamContainerStatsResponse.encode({ containerStats: [one] }).finish(),
      );
    },
    async podSandboxStats({ podSandboxId }, signal) {
      const sandbox = deps.sandboxes.mustFind(requiredText(podSandboxId, 'pod_sandbox_id'));
      return { stats: podStatsToWire(await podUsage(deps, sandbox, signal)) };
    },
    async listPodSandboxStats({ filter }, signal) {
      return { stats: await pods(filter, signal) };
    },
    async *streamPodSandboxStats({ filter }, signal) {
      yield* pages(await pods(filter, signal), (one) =>
        StreamPodSandboxStatsResponse.encode({ podSandboxStats: [one] }).finish(),
      );
    },
  };
}

function containerFilter(filter: ContainerStatsFilter | undefined): ContainerFilter {
  if (filter === undefined) return { labels: {} };
  return { id: textOf(filter.id), sandboxId: textOf(filter.podSandboxId), labels: filter.labelSelector };
}

function podFilter(filter: PodSandboxStatsFilter | undefined): SandboxFilter {
  return filter === undefined ? { labels: {} } : { id: textOf(filter.id), labels: filter.labelSelector };
}
