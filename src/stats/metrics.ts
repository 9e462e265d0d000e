/** The CRI's metrics: descriptors, read once by the kubelet, and the values of all pods. */
import { statfsSync } from 'node:fs';
import { listProcesses } from '../cgroups/tree.ts';
import { containerFamilies, type ContainerFacts, type MetricFamily, type Sample } from './metric-families.ts';
import type { InterfaceCounters } from './network-counters.ts';
import { readProcessFacts } from './process-facts.ts';
import { type ContainerUsage, listPodUsage, type PodUsage, type UsageDeps } from './usage.ts';

export interface MetricDescriptor {
  readonly name: string;
  readonly help: string;
  readonly labelKeys: readonly string[];
}

/** `labelValues` in the order of the descriptor's `labelKeys`. */
interface Metric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly labelValues: readonly string[];
  readonly value: bigint;
}

export interface PodMetrics {
  readonly sandboxId: string;
  readonly metrics: readonly Metric[];
  readonly containers: readonly { readonly containerId: string; readonly metrics: readonly Metric[] }[];
}

/** What every metric carries; a pod's own have no container and no image. */
const commonLabels = ['id', 'pod', 'namespace', 'container', 'image'];

const networkFamilies: readonly MetricFamily<readonly InterfaceCounters[]>[] = [
  network('receive_bytes', 'Bytes received', (counters) => counters.receivedBytes),
  network('receive_packets', 'Packets received', (counters) => counters.receivedPackets),
  network(
    'receive_packets_dropped',
    'Packets dropped while receiving',
    (counters) => counters.receiveDropped,
  ),
  network('receive_errors', 'Errors while receiving', (counters) => counters.receiveErrors),
  network('transmit_bytes', 'Bytes sent', (counters) => counters.sentBytes),
  network('transmit_packets', 'Packets sent', (counters) => counters.sentPackets),
  network('transmit_packets_dropped', 'Packets dropped while sending', (counters) => counters.sendDropped),
  network('transmit_errors', 'Errors while sending', (counters) => counters.sendErrors),
];

/** Every metric that may be served; the same in each call. */
export function metricDescriptors(): MetricDescriptor[] {
  return [...containerFamilies, ...networkFamilies].map(({ name, help, labels = [] }) => ({
    name,
    help,
    labelKeys: [...commonLabels, ...labels],
  }));
}

/** The metrics of every ready pod and its containers. @throws the signal's reason */
export async function listPodMetrics(deps: UsageDeps, signal?: AbortSignal): Promise<PodMetrics[]> {
  const found: PodMetrics[] = [];
  for (const pod of await listPodUsage(deps, { labels: {} }, signal)) {
    signal?.throwIfAborted();
    const containers = [];
    for (const usage of pod.containers) {
      const facts = await gather(deps, usage);
      containers.push({
        containerId: usage.container.id,
        metrics: valuesOf(containerFamilies, facts, containerLabels(pod, usage)),
      });
    }
    const { name, namespace } = pod.sandbox.config.metadata;
    found.push({
      sandboxId: pod.sandbox.id,
      metrics: valuesOf(networkFamilies, pod.interfaces, [pod.sandbox.id, name, namespace, '', '']),
      containers,
    });
  }
  return found;
}

async function gather(deps: UsageDeps, usage: ContainerUsage): Promise<ContainerFacts> {
  const pids = listProcesses(deps.host, deps.containerCgroup(usage.container));
  const processes = await readProcessFacts(pids);
  const mountpoint = usage.writableLayer?.mountpoint;
  if (mountpoint === undefined) return { usage, processes };
  const { bsize, blocks, files, ffree } = statfsSync(mountpoint, { bigint: true });
  const fileSystem = { device: mountpoint, sizeBytes: bsize * blocks, inodes: files, freeInodes: ffree };
  return { usage, processes, fileSystem };
}

function containerLabels({ sandbox }: PodUsage, { container }: ContainerUsage): string[] {
  const { name, namespace } = sandbox.config.metadata;
  return [container.id, name, namespace, container.config.metadata.name, container.imageReference];
}

function valuesOf<Facts>(
  families: readonly MetricFamily<Facts>[],
  facts: Facts,
  common: readonly string[],
): Metric[] {
  return families.flatMap(({ name, type, read }) =>
    read(facts).map(({ labels = [], value }) => ({
      name,
      type,
      labelValues: [...common, ...labels],
      value: BigInt(value),
    })),
  );
}

function network(
  name: string,
  help: string,
  read: (counters: InterfaceCounters) => bigint,
): MetricFamily<readonly InterfaceCounters[]> {
  return {
    name: `container_network_${name}_total`,
    help,
    type: 'counter',
    labels: ['interface'],
    read: (interfaces): Sample[] =>
      interfaces.map((counters) => ({ labels: [counters.name], value: read(counters) })),
  };
}
