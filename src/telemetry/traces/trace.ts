/** Where the time of a request went. */
import type { ParentSpan } from './trace-context.ts';

/** A part of a request that has a name. Phases may run side by side and hold others. */
export interface Phase {
  /** A few fixed words, with a digest or a plugin's type where several are alike: nothing that a client sent. */
  readonly name: string;
  /** Index of the phase around it; -1 for the request itself. */
  readonly parent: number;
  /** Since the start of the request. */
  readonly startMs: number;
  /** Undefined: it had not ended by the end of the request, or has not yet. */
  readonly durationMs: number | undefined;
  readonly hasFailed: boolean;
}

/** What a request is about, as far as it is known. */
export interface Subject {
  readonly podId?: string | undefined;
  readonly podName?: string | undefined;
  readonly podNamespace?: string | undefined;
  readonly containerId?: string | undefined;
  readonly containerName?: string | undefined;
  readonly image?: string | undefined;
}

/** One request, ended or not. */
export interface Trace {
  /** 32 hex digits; the caller's when it sent one. */
  readonly traceId: string;
  /** 16 hex digits: the request's own. */
  readonly spanId: string;
  readonly parent: ParentSpan | undefined;
  readonly method: string;
  /** It changes nothing: there are many of these. */
  readonly isRead: boolean;
  /** Unix time in milliseconds. */
  readonly startedAtMs: number;
  /** So far, while it is being worked on. */
  readonly durationMs: number;
  /** The wire status; undefined while the request is being worked on. */
  readonly code: string | undefined;
  /** What the client was told of the failure. */
  readonly error: string | undefined;
  readonly subject: Subject;
  /** In the order in which they began. */
  readonly phases: readonly Phase[];
  /** Phases beyond the limit of one request, which are not kept. */
  readonly droppedPhases: number;
}
