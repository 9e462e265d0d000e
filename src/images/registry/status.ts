/** What a registry's refusal means for the user. */
import { z } from 'zod';
import { EngineError, type ErrorKind } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { parseUntrustedJson } from '../../lib/untrusted-json.ts';
import { isTransientStatus } from './retry.ts';

export interface RefusedAnswer {
  readonly status: number;
  /** What was asked for: `manifest of docker.io/library/busybox:latest`. */
  readonly what: string;
  readonly body: Buffer | undefined;
  readonly hadCredential: boolean;
}

const bodySchema = z.object({
  errors: z.array(z.object({ code: z.string().optional(), message: z.string().optional() })).min(1),
});

/** The error for an answer that is neither 200 nor 206. */
export function answerError(answer: RefusedAnswer): EngineError {
  const { status, what } = answer;
  const told = diagnosis(answer.body);
  const detail = told === undefined ? `HTTP ${status}` : `HTTP ${status}, ${told}`;
  if (status === 404) return new EngineError('not-found', `${what} not found (${detail})`);
  if (status === 401 || status === 403) {
    const needs = answer.hadCredential ? 'needs other credentials' : 'needs credentials';
    return new EngineError(
      deniedKind(status, answer.hadCredential),
      `pull access denied: ${what}: it does not exist, or ${needs} (${detail})`,
    );
  }
  if (status === 429)
    return new EngineError('unavailable', `${what}: the registry limits the rate (${detail})`);
  const kind: ErrorKind = isTransientStatus(status) || status >= 500 ? 'unavailable' : 'internal';
  return new EngineError(kind, `${what}: the registry answered ${detail}`);
}

function deniedKind(status: number, hadCredential: boolean): ErrorKind {
  return status === 401 && !hadCredential ? 'unauthenticated' : 'permission-denied';
}

function diagnosis(body: Buffer | undefined): string | undefined {
  if (body === undefined || body.length === 0) return undefined;
  try {
    const [first] = bodySchema.parse(parseUntrustedJson(body)).errors;
    const texts = [first?.code ?? '', first?.message ?? ''].filter((text) => text !== '');
    return texts.length === 0 ? undefined : texts.map(quote).join(' ');
  } catch {
    return undefined;
  }
}
