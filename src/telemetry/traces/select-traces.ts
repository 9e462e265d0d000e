import type { Subject, Trace } from './trace.ts';

/** What to look for. */
export interface TraceQuery {
  /** Begins a request's id, or a trace's. */
  readonly id?: string | undefined;
  readonly method?: string | undefined;
  /** A pod's name, its `namespace/name`, or the beginning of its id. */
  readonly pod?: string | undefined;
  readonly onlyFailed: boolean;
  /** Whether requests that change nothing are shown, too; one that is named by its id or its method always is. */
  readonly withReads: boolean;
  readonly order: 'latest' | 'slowest';
  readonly limit: number;
}

/** The traces that a query asks for: the `limit` latest, oldest first, or the `limit` slowest, slowest first. Pure. */
export function selectTraces(traces: readonly Trace[], query: TraceQuery): Trace[] {
  const found = traces.filter((trace) => isAskedFor(trace, query));
  if (query.order === 'slowest')
    return found.toSorted((one, other) => other.durationMs - one.durationMs).slice(0, query.limit);
  return found
    .toSorted((one, other) => one.startedAtMs - other.startedAtMs)
    .slice(Math.max(0, found.length - query.limit));
}

function isAskedFor(trace: Trace, { id, method, pod, onlyFailed, withReads }: TraceQuery): boolean {
  if (id !== undefined && !trace.spanId.startsWith(id) && !trace.traceId.startsWith(id)) return false;
  if (method !== undefined && trace.method.toLowerCase() !== method.toLowerCase()) return false;
  if (pod !== undefined && !isOfPod(trace.subject, pod)) return false;
  if (onlyFailed && (trace.code === undefined || trace.code === 'OK')) return false;
  return withReads || id !== undefined || method !== undefined || !trace.isRead;
}

function isOfPod({ podId, podName, podNamespace }: Subject, text: string): boolean {
  if (text === podName || text === `${podNamespace}/${podName}`) return true;
  return podId !== undefined && text.length >= 4 && podId.startsWith(text);
}
