/** `gantry.v1.TraceService`, on the CRI's socket: who can open that is root on the node already. */
import type {
  Trace as WireTrace,
  TracePhase as WirePhase,
  TraceServiceService,
} from '../gen/gantry/v1/traces.ts';
import type { RequestTraces } from '../telemetry/traces/request-traces.ts';
import { selectTraces } from '../telemetry/traces/select-traces.ts';
import type { Phase, Trace } from '../telemetry/traces/trace.ts';
import type { HandlersOf } from './handlers.ts';
import { member, textOf } from './translate/fields.ts';

export type TraceHandlers = HandlersOf<typeof TraceServiceService>;

const usualLimit = 100;
/** Keeps an answer below a few megabytes. */
const greatestLimit = 1000;
const orders = ['latest', 'slowest'] as const;

export function traceHandlers(traces: RequestTraces): TraceHandlers {
  return {
    async listTraces({ id, method, pod, onlyFailed, withReads, order, limit }) {
      const query = {
        id: textOf(id),
        method: textOf(method),
        pod: textOf(pod),
        onlyFailed,
        withReads,
        order: member(orders, order, 'order'),
        limit: limit === 0 ? usualLimit : Math.min(limit, greatestLimit),
      };
      return { traces: selectTraces(traces.all(), query).map(traceToWire) };
    },
  };
}

function traceToWire(trace: Trace): WireTrace {
  const { podId = '', podName = '', podNamespace = '' } = trace.subject;
  const { containerId = '', containerName = '', image = '' } = trace.subject;
  return {
    traceId: trace.traceId,
    spanId: trace.spanId,
    parentSpanId: trace.parent?.spanId ?? '',
    method: trace.method,
    startedAt: BigInt(trace.startedAtMs) * 1_000_000n,
    durationMs: trace.durationMs,
    code: trace.code ?? '',
    error: trace.error ?? '',
    subject: { podId, podName, podNamespace, containerId, containerName, image },
    phases: trace.phases.map(phaseToWire),
    droppedPhases: trace.droppedPhases,
  };
}

function phaseToWire({ name, parent, startMs, durationMs, hasFailed }: Phase): WirePhase {
  return { name, parent, startMs, durationMs, hasFailed };
}
