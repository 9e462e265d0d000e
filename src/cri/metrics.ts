/** The RPCs on metrics. */
import type { UsageDeps } from '../stats/usage.ts';
import type { RuntimeHandlers } from './handlers.ts';

export function metricsHandlers(
  _deps: UsageDeps,
): Pick<RuntimeHandlers, 'listMetricDescriptors' | 'listPodSandboxMetrics' | 'streamPodSandboxMetrics'> {
  return {
    listMetricDescriptors: async () => ({ descriptors: [] }),
    listPodSandboxMetrics: async () => ({ podMetrics: [] }),
    async *streamPodSandboxMetrics() {},
  };
}
