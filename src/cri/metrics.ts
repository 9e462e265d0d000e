/** The RPCs on metrics. */
import {
  type Metric as WireMetric,
  MetricType,
  type PodSandboxMetrics,
  StreamPodSandboxMetricsResponse,
} from '../gen/runtime/v1/api.ts';
import { listPodMetrics, type PodMetrics } from '../stats/metrics.ts';
import { type Metric, metricDescriptors } from '../stats/metrics/tables.ts';
import type { UsageDeps } from '../stats/usage.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { pages } from './pages.ts';

const wireTypes = { counter: MetricType.COUNTER, gauge: MetricType.GAUGE } as const;

export function metricsHandlers(
  deps: UsageDeps,
): Pick<RuntimeHandlers, 'listMetricDescriptors' | 'listPodSandboxMetrics' | 'streamPodSandboxMetrics'> {
  return {
    async listMetricDescriptors() {
      const descriptors = metricDescriptors();
      return {
        descriptors: descriptors.map(({ name, help, labelKeys }) => ({
          name,
          help,
          labelKeys: [...labelKeys],
        })),
      };
    },
    async listPodSandboxMetrics(_request, signal) {
      return { podMetrics: (await listPodMetrics(deps, signal)).map(podMetricsToWire) };
    },
    async *streamPodSandboxMetrics(_request, signal) {
      yield* pages(await listPodMetrics(deps, signal), (pod) =>
        StreamPodSandboxMetricsResponse.encode({ podSandboxMetrics: [podMetricsToWire(pod)] }).finish(),
      );
    },
  };
}

function podMetricsToWire({ sandboxId, metrics, containers }: PodMetrics): PodSandboxMetrics {
  return {
    podSandboxId: sandboxId,
    metrics: metrics.map(metricToWire),
    containerMetrics: containers.map(({ containerId, metrics: ofContainer }) => ({
      containerId,
      metrics: ofContainer.map(metricToWire),
    })),
  };
}

/** Timestamp 0 means to the kubelet that the value was read for this request. */
function metricToWire({ name, type, labelValues, value, readAtNs = 0n }: Metric): WireMetric {
  return {
    name,
    timestamp: readAtNs,
    metricType: wireTypes[type],
    labelValues: [...labelValues],
    value: { value },
  };
}
