/** The identity of a request among those of other programs, by W3C Trace Context. */
import { randomFillSync } from 'node:crypto';

/** Of the request that this one is a part of. */
export interface ParentSpan {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** Whether the caller keeps its own span, so that a sampler which follows it keeps ours. */
  readonly isSampled: boolean;
}

const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const sampledFlag = 1;

/**
 * Reads a `traceparent` header, of this and of later versions of the format. One that breaks the rules is as good as none:
 * the request then begins a trace of its own. https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function parseTraceparent(header: string): ParentSpan | undefined {
  const [, version, traceId = '', spanId = '', flags = '', rest] = pattern.exec(header) ?? [];
  if (version === undefined || version === 'ff') return undefined;
  if (version === '00' && rest !== undefined) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & sampledFlag) !== 0 };
}

/** 32 hex digits. */
export function newTraceId(): string {
  return randomHex(16);
}

/** 16 hex digits. */
export function newSpanId(): string {
  return randomHex(8);
}

/** Random bytes for the next ids: asking for those of each id was a twentieth of what a short call costs. */
const pool = Buffer.alloc(4096);
let usedBytes = pool.length;

/** All zeros stands for no id. */
function randomHex(length: number): string {
  for (;;) {
    if (usedBytes + length > pool.length) {
      randomFillSync(pool);
      usedBytes = 0;
    }
    const text = pool.toString('hex', usedBytes, usedBytes + length);
    usedBytes += length;
    if (!/^0+$/.test(text)) return text;
  }
}
