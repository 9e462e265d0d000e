import type { Config } from '../config-schema.ts';
import type { RequestMetrics } from '../telemetry/request-metrics.ts';

/**
 * Begins to count requests and what Node does, where that is served: a timer of ten milliseconds and a listener to each collection of garbage
 * are most of what an idle daemon would do.
 */
export async function startMetrics({ metrics }: Config): Promise<RequestMetrics | undefined> {
  if (metrics.address === '') return undefined;
  const { createRequestMetrics } = await import('../telemetry/request-metrics.ts');
  return createRequestMetrics();
}
