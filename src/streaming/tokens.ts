/** One-time tokens: who holds one may open one stream, once, for a short time. */
import { randomBytes } from 'node:crypto';
import { EngineError } from '../lib/errors.ts';
import { outsideRequest } from '../telemetry/traces/phase.ts';

const maxPending = 1000;

export class Tokens<Request> implements Disposable {
  readonly #timeToLiveMs: number;
  readonly #pending = new Map<string, { readonly request: Request; readonly timer: NodeJS.Timeout }>();

  constructor(timeToLiveMs: number) {
    this.#timeToLiveMs = timeToLiveMs;
  }

  /** @throws EngineError resource-exhausted while too many have been handed out and not been used */
  issue(request: Request): string {
    if (this.#pending.size >= maxPending)
      throw new EngineError(
        'resource-exhausted',
        `${maxPending} streaming requests wait for their client: try again later`,
      );
    const token = randomBytes(24).toString('base64url');
    const timer = outsideRequest(() =>
      setTimeout(() => this.#pending.delete(token), this.#timeToLiveMs).unref(),
    );
    this.#pending.set(token, { request, timer });
    return token;
  }

  /** Gives the request of a token, which is thereby used up. */
  redeem(token: string): Request | undefined {
    const entry = this.#pending.get(token);
    clearTimeout(entry?.timer);
    this.#pending.delete(token);
    return entry?.request;
  }

  [Symbol.dispose](): void {
    for (const { timer } of this.#pending.values()) clearTimeout(timer);
    this.#pending.clear();
  }
}
