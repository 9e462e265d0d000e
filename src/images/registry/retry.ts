/** Which failures of a registry are worth another try, and when. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf } from '../../lib/errors.ts';

export interface RetryPolicy {
  /** Tries in all. */
  readonly attempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** A registry that asks for a longer pause is not waited for: the caller (the kubelet) has a back-off of its own. */
  readonly maxRetryAfterMs: number;
}

export const defaultRetryPolicy: RetryPolicy = {
  attempts: 4,
  baseDelayMs: 250,
  maxDelayMs: 5000,
  maxRetryAfterMs: 30_000,
};

/** Thrown by an attempt that may be repeated. `error` is what the caller gets when there is no further attempt. */
export class Transient extends Error {
  readonly error: EngineError;
  readonly retryAfterMs: number | undefined;

  constructor(error: EngineError, retryAfterMs?: number) {
    super(error.message, { cause: error });
    this.error = error;
    this.retryAfterMs = retryAfterMs;
  }
}

const transientErrnos: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'ENETDOWN',
  'ERR_STREAM_PREMATURE_CLOSE',
]);
const transientStatuses: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** A connection that broke, not one that was refused: a registry that is down stays down for longer than we wait. */
export function isTransient(error: unknown): boolean {
  const code = errnoOf(error) ?? (error instanceof EngineError ? errnoOf(error.cause) : undefined);
  return code !== undefined && transientErrnos.has(code);
}

export function isTransientStatus(status: number): boolean {
  return transientStatuses.has(status);
}

/** Repeats `attempt` while it throws `Transient`. Delays double from `baseDelayMs`, with jitter. */
export async function withRetry<T>(
  policy: RetryPolicy,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Transient)) throw error;
      const delayMs = error.retryAfterMs ?? backOffMs(policy, tried);
      if (tried >= policy.attempts || delayMs > policy.maxRetryAfterMs) throw error.error;
      await pause(delayMs, signal);
    }
  }
}

/** The pause before attempt `tried + 1`: half of it fixed, half random, so that nodes do not come back in step. */
export function backOffMs(policy: RetryPolicy, tried: number): number {
  const full = Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** (tried - 1));
  return full / 2 + (Math.random() * full) / 2;
}

/** @throws the signal's reason when it is aborted first */
export async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(delayMs, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** `Retry-After`: seconds or a date. Undefined when it is neither. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header.trim()) * 1000;
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}
