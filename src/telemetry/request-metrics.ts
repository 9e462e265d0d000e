/** Counts and durations of requests, for Prometheus. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export interface RequestMetrics {
  /** Notes the start of a request; the returned function notes its end with the wire status. */
  begin(method: string): (code: string) => void;
  /** The text exposition of everything. */
  expose(): Promise<string>;
}

export function createRequestMetrics(): RequestMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'gantry_' });
  const requests = new Counter({
    name: 'gantry_cri_requests_total',
    help: 'CRI requests by method and status.',
    labelNames: ['method', 'code'],
    registers: [registry],
  });
  const inFlight = new Gauge({
    name: 'gantry_cri_requests_in_flight',
    help: 'CRI requests that are being worked on.',
    labelNames: ['method'],
    registers: [registry],
  });
  const durations = new Histogram({
    name: 'gantry_cri_request_seconds',
    help: 'How long CRI requests took.',
    labelNames: ['method'],
    buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120],
    registers: [registry],
  });
  return {
    begin(method) {
      const stop = durations.startTimer({ method });
      inFlight.inc({ method });
      return (code) => {
        stop();
        inFlight.dec({ method });
        requests.inc({ method, code });
      };
    },
    expose: async () => await registry.metrics(),
  };
}
