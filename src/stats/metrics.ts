/**
 * The metrics that the kubelet serves at /metrics/cadvisor when it asks the runtime: cAdvisor's names, so that dashboards go on working.
 * What there is stands in metrics/; here it meets the pods.
 */
import { type Container, isAlive } from '../containers/container.ts';
import { listContainers } from '../containers/list.ts';
import { listSandboxes } from '../sandbox/list.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { readContainerFacts, SharedReadings } from './metrics/container-facts.ts';
import { networkFamilies } from './metrics/network.ts';
import { containerFamilies, type Metric, type MetricOwner, metricsOf } from './metrics/tables.ts';
import { containerStats, type UsageDeps } from './usage.ts';

interface ContainerMetrics {
  readonly containerId: string;
  readonly metrics: readonly Metric[];
}

export interface PodMetrics {
  readonly sandboxId: string;
  readonly metrics: readonly Metric[];
  readonly containers: readonly ContainerMetrics[];
}

/** The metrics of every ready pod and of its containers that have a process. @throws the signal's reason */
export async function listPodMetrics(deps: UsageDeps, signal?: AbortSignal): Promise<PodMetrics[]> {
  const shared = new SharedReadings();
  const found: PodMetrics[] = [];
  for (const sandbox of listSandboxes(deps.sandboxes, { labels: {} })) {
    if (sandbox.state.name !== 'ready') continue;
    const containers: ContainerMetrics[] = [];
    for (const container of listContainers(deps.containers, { sandboxId: sandbox.id, labels: {} })) {
      if (!isAlive(container)) continue;
      signal?.throwIfAborted();
      const facts = await readContainerFacts(deps, await containerStats(deps, container), shared);
      const metrics = metricsOf(containerFamilies, facts, containerOwner(sandbox, container));
      containers.push({ containerId: container.id, metrics });
    }
    const interfaces = await deps.interfaces.read(sandbox);
    found.push({
      sandboxId: sandbox.id,
      metrics: metricsOf(networkFamilies, interfaces, podOwner(sandbox)),
      containers,
    });
  }
  return found;
}

function podOwner({ id, config }: Sandbox): MetricOwner {
  const { name, namespace } = config.metadata;
  return { pod: name, namespace, container: '', id, image: '' };
}

function containerOwner(sandbox: Sandbox, { id, config, imageReference }: Container): MetricOwner {
  return { ...podOwner(sandbox), container: config.metadata.name, id, image: imageReference };
}
