import { OpenTrace, type TraceStart } from './open-trace.ts';
import type { Trace } from './trace.ts';

/** Enough for the pods of a full node; some hundred kilobytes at most for the methods that have many phases. */
const defaultKept = 200;

export interface RequestTracesOptions {
  /** Of each method. Of reads a quarter: polls come every second and have next to nothing to tell. Default 200. */
  readonly keptRequests?: number | undefined;
  /** Hears of each request when it has ended. */
  readonly onEnd?: ((trace: Trace) => void) | undefined;
}

/**
 * The requests that are being worked on, and the last ones of each method that have ended: frequent ones, such as exec probes,
 * do not drive out pods' starts. In memory only.
 */
export class RequestTraces {
  readonly #onEnd: ((trace: Trace) => void) | undefined;
  readonly #kept: number;
  readonly #open = new Set<OpenTrace>();
  readonly #ended = new Map<string, Trace[]>();

  constructor({ onEnd, keptRequests = defaultKept }: RequestTracesOptions = {}) {
    this.#onEnd = onEnd;
    this.#kept = keptRequests;
  }

  begin(start: TraceStart): OpenTrace {
    const trace = new OpenTrace(start);
    this.#open.add(trace);
    return trace;
  }

  /** Ends a request with its wire status, and with what the client was told if it failed. */
  end(open: OpenTrace, code: string, error?: string): void {
    if (!this.#open.delete(open)) return;
    const trace = open.end(code, error);
    const kept = this.#ended.get(trace.method) ?? [];
    if (kept.length === 0) this.#ended.set(trace.method, kept);
    kept.push(trace);
    if (kept.length > (trace.isRead ? this.#kept / 4 : this.#kept)) kept.shift();
    this.#onEnd?.(trace);
  }

  /** All that is kept, in no order, those that are being worked on as they are now. */
  all(): Trace[] {
    return [...this.#ended.values()].flat().concat([...this.#open].map((trace) => trace.snapshot()));
  }
}
