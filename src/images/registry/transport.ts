/** One HTTP exchange: no redirects, no retries, no authentication. Deadlines on connecting and on the answer's head. */
import { type IncomingMessage, type OutgoingHttpHeaders, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import type { AgentPool, TlsSettings } from './agent-pool.ts';
import { redactUrl } from './redact.ts';

export interface Exchange {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: OutgoingHttpHeaders;
  readonly body?: string;
  readonly tls: TlsSettings;
  readonly dialTimeoutMs: number;
  readonly signal: AbortSignal;
}

// A registry that accepts a connection and then says nothing is as good as down.
const headTimeoutMs = 60_000;
const maxDiscardedBytes = 64 * 1024;

/**
 * Sends and waits for the head of the answer. The caller reads or destroys the body; `signal` ends both.
 * @throws EngineError unavailable with the network's error as its cause, or the signal's reason
 */
export async function exchange(pool: AgentPool, args: Exchange): Promise<IncomingMessage> {
  args.signal.throwIfAborted();
  const send = args.url.protocol === 'https:' ? httpsRequest : httpRequest;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = send(args.url, {
    method: args.method,
    headers: { 'user-agent': 'gantry', ...args.headers },
    agent: pool.agentFor(args.url, args.tls),
    signal: args.signal,
  });
  const deadline = setTimeout(
    () => request.destroy(timeoutError(`no answer within ${headTimeoutMs} ms`)),
    headTimeoutMs,
  );
  const dial = setTimeout(
    () => request.destroy(timeoutError(`no connection within ${args.dialTimeoutMs} ms`)),
    args.dialTimeoutMs,
  );
  request.once('socket', (socket) => {
    if (!socket.connecting) clearTimeout(dial);
    else socket.once(args.url.protocol === 'https:' ? 'secureConnect' : 'connect', () => clearTimeout(dial));
  });
  request.once('response', resolve);
  // Stays attached: an error after the answer's head is told by the body, and must not end the process here.
  request.on('error', reject);
  request.end(args.body);
  try {
    return await promise;
  } catch (error) {
    args.signal.throwIfAborted();
    throw new EngineError('unavailable', `${args.method} ${redactUrl(args.url)}: ${explain(error)}`, {
      cause: error,
    });
  } finally {
    clearTimeout(deadline);
    clearTimeout(dial);
  }
}

/**
 * Reads a whole body of at most `maxBytes`; more is refused at the first byte too many.
 * @throws EngineError data-loss when it is longer, unavailable when it breaks off, or the signal's reason
 */
export async function readBody(
  response: IncomingMessage,
  limit: { readonly maxBytes: number; readonly what: string; readonly idleMs: number },
  signal: AbortSignal,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const idle = setTimeout(
    () => response.destroy(timeoutError(`no byte arrived for ${limit.idleMs} ms`)),
    limit.idleMs,
  );
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      idle.refresh();
      size += chunk.length;
      if (size > limit.maxBytes) {
        throw new EngineError(
          'data-loss',
          `${limit.what}: the answer is larger than ${limit.maxBytes} bytes`,
        );
      }
      chunks.push(chunk);
    }
  } catch (error) {
    response.destroy();
    signal.throwIfAborted();
    if (error instanceof EngineError) throw error;
    throw new EngineError('unavailable', `${limit.what}: ${messageOf(error)}`, { cause: error });
  } finally {
    clearTimeout(idle);
  }
  return Buffer.concat(chunks);
}

/** Lets go of an answer whose body nobody needs: a short one is read so that the connection lives on, others end it. */
export function discardBody(response: IncomingMessage): void {
  const length = Number(response.headers['content-length'] ?? Number.NaN);
  if (length <= maxDiscardedBytes) response.resume();
  else response.destroy();
}

/** An error that `isTransient` knows, for a peer that fell silent. */
function timeoutError(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' });
}

function explain(error: unknown): string {
  const message = messageOf(error);
  if (errnoOf(error) === 'EPROTO' || message.includes('wrong version number')) {
    return `${message} (does it speak plain HTTP? then name it by http:// in its hosts.toml)`;
  }
  // Happy eyeballs: the reasons are inside, the outer message is empty.
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  return message;
}
