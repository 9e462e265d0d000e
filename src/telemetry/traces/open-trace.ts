import { newSpanId, newTraceId, parseTraceparent, type ParentSpan } from './trace-context.ts';
import type { Phase, Subject, Trace } from './trace.ts';

/** An image has at most 127 layers, of four phases each. */
const maxPhases = 600;
const maxErrorLength = 1000;
/** An image's reference is no longer, nor any name that Kubernetes gives. */
const maxSubjectLength = 1024;

interface OpenPhase {
  readonly name: string;
  readonly parent: number;
  readonly startedAt: number;
  endedAt: number | undefined;
  hasFailed: boolean;
}

export interface TraceStart {
  readonly method: string;
  readonly isRead: boolean;
  /** The client's header, as it came. */
  readonly traceparent: string | undefined;
}

/** A request that is being worked on. What is told after its end is ignored: work that others share may go on. */
export class OpenTrace {
  readonly method: string;
  readonly isRead: boolean;
  readonly spanId = newSpanId();
  readonly #traceId: string;
  readonly #parent: ParentSpan | undefined;
  readonly #startedAtMs = Date.now();
  readonly #startedAt = performance.now();
  readonly #phases: OpenPhase[] = [];
  #subject: Subject = {};
  #droppedPhases = 0;
  #ended: Trace | undefined;

  constructor({ method, isRead, traceparent }: TraceStart) {
    this.method = method;
    this.isRead = isRead;
    this.#parent = traceparent === undefined ? undefined : parseTraceparent(traceparent);
    this.#traceId = this.#parent?.traceId ?? newTraceId();
  }

  /** Adds to what is known of the subject. */
  describe(subject: Subject): void {
    for (const [key, text] of Object.entries(subject))
      if (text !== undefined) this.#subject = { ...this.#subject, [key]: cut(text, maxSubjectLength) };
  }

  /** Begins a phase inside `parent`; undefined when it is not kept. */
  openPhase(name: string, parent: number): number | undefined {
    if (this.#ended !== undefined) return undefined;
    if (this.#phases.length >= maxPhases) {
      this.#droppedPhases += 1;
      return undefined;
    }
    const phase = { name, parent, startedAt: performance.now(), endedAt: undefined, hasFailed: false };
    return this.#phases.push(phase) - 1;
  }

  closePhase(index: number, hasFailed: boolean): void {
    const phase = this.#phases[index];
    if (phase === undefined || this.#ended !== undefined) return;
    phase.endedAt = performance.now();
    phase.hasFailed = hasFailed;
  }

  /** Ends the request; the first call counts. Gives what is kept of it. */
  end(code: string, error?: string): Trace {
    this.#ended ??= this.#describeNow(code, error === undefined ? undefined : cut(error, maxErrorLength));
    this.#phases.length = 0;
    return this.#ended;
  }

  /** As it is at this moment. */
  snapshot(): Trace {
    return this.#ended ?? this.#describeNow(undefined, undefined);
  }

  #describeNow(code: string | undefined, error: string | undefined): Trace {
    return {
      traceId: this.#traceId,
      spanId: this.spanId,
      parent: this.#parent,
      method: this.method,
      isRead: this.isRead,
      startedAtMs: this.#startedAtMs,
      durationMs: performance.now() - this.#startedAt,
      code,
      error,
      subject: this.#subject,
      phases: this.#phases.map((phase) => this.#phaseOf(phase)),
      droppedPhases: this.#droppedPhases,
    };
  }

  #phaseOf({ name, parent, startedAt, endedAt, hasFailed }: OpenPhase): Phase {
    return {
      name,
      parent,
      startMs: startedAt - this.#startedAt,
      durationMs: endedAt === undefined ? undefined : endedAt - startedAt,
      hasFailed,
    };
  }
}

/** A copy: what `slice` alone gives would keep all of the text in memory. */
function cut(text: string, length: number): string {
  return text.length <= length ? text : Buffer.from(text.slice(0, length)).toString();
}
