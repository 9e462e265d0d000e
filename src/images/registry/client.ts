/** Requests to the registry of one repository: authenticated, redirected with care, repeated, and over all its hosts. */
import type { IncomingMessage } from 'node:http';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { isInternalHost } from './addresses.ts';
import type { AgentPool, TlsSettings } from './agent-pool.ts';
import { Authenticator } from './auth.ts';
import { credentialFor, type RegistryAuth } from './credentials.ts';
import type { RegistryHost } from './hosts.ts';
import { redactUrl } from './redact.ts';
import {
  isTransient,
  isTransientStatus,
  retryAfterMs,
  type RetryPolicy,
  Transient,
  withRetry,
} from './retry.ts';
import { answerError } from './status.ts';
import { discardBody, exchange } from './transport.ts';

const maxRedirects = 5;

export interface RepositoryOptions {
  readonly pool: AgentPool;
  readonly hosts: readonly RegistryHost[];
  readonly domain: string;
  readonly path: string;
  readonly auth: RegistryAuth | undefined;
  readonly retry: RetryPolicy;
  /** A request or a body that makes no progress for so long is given up. */
  readonly progressTimeoutMs: number;
}

/** A repository as one pull sees it. Holds tokens in memory, no connection of its own. */
export interface Repository extends RepositoryOptions {
  readonly authenticators: ReadonlyMap<RegistryHost, Authenticator>;
}

export interface RepositoryRequest {
  /** What follows the repository's name: `manifests/latest`. */
  readonly suffix: string;
  readonly headers: Readonly<Record<string, string>>;
  /** For messages: `manifest of docker.io/library/busybox:latest`. */
  readonly what: string;
  readonly signal: AbortSignal;
}

/** @throws EngineError invalid-argument for credentials that cannot be read */
export function openRepository(options: RepositoryOptions): Repository {
  const authenticators = new Map<RegistryHost, Authenticator>();
  for (const host of options.hosts) {
    const credential = credentialFor(options.auth, options.domain, host);
    const scope = `repository:${options.path}:pull`;
    authenticators.set(host, new Authenticator(options.pool, host, { credential, scope }));
  }
  return { ...options, authenticators };
}

/**
 * Asks the hosts in order until `use` took an answer with status 200 or 206. A host that fails in whatever way gives
 * way to the next; the registry itself is the last, and its error is the one that is told.
 */
export async function askHosts<T>(
  repository: Repository,
  request: RepositoryRequest & { readonly hosts: readonly RegistryHost[] },
  use: (response: IncomingMessage) => Promise<T>,
): Promise<T> {
  const failures: string[] = [];
  let last: unknown;
  for (const host of request.hosts) {
    try {
      return await withRetry(repository.retry, request.signal, async () => {
        const response = await askOnce(repository, host, request);
        return await transientIfBroken(() => use(response));
      });
    } catch (error) {
      request.signal.throwIfAborted();
      last = error;
      failures.push(`${host.origin}: ${messageOf(error)}`);
    }
  }
  if (last === undefined) {
    throw new EngineError(
      'failed-precondition',
      `${request.what}: no host of hosts.toml may be asked for it`,
    );
  }
  if (failures.length === 1) throw last;
  const error = EngineError.from(last);
  const others = failures.slice(0, -1).join('; ');
  throw new EngineError(error.kind, `${error.message} (and before it ${others})`, { cause: last });
}

/** Makes a broken connection worth another try. */
export async function transientIfBroken<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isTransient(error)) throw error;
    throw new Transient(EngineError.from(error));
  }
}

/** One request to one host, a 401 answered once. The answer has status 200 or 206. @throws Transient or EngineError */
async function askOnce(
  repository: Repository,
  host: RegistryHost,
  request: RepositoryRequest,
): Promise<IncomingMessage> {
  const url = new URL(`${host.baseUrl}/${repository.path}/${request.suffix}`);
  if (host.namespace !== undefined) url.searchParams.set('ns', host.namespace);
  const authenticator = repository.authenticators.get(host);
  for (let tried = 1; ; tried += 1) {
    const authorization = authenticator?.authorization;
    const { response, home } = await transientIfBroken(() =>
      followRedirects(repository.pool, {
        url,
        headers: {
          ...host.headers,
          ...request.headers,
          ...(authorization === undefined ? {} : { authorization }),
        },
        plainHeaders: request.headers,
        tls: host.tls,
        dialTimeoutMs: host.dialTimeoutMs,
        signal: request.signal,
      }),
    );
    if (response.statusCode === 401 && home && authenticator !== undefined && tried <= 2) {
      const header = response.headers['www-authenticate'] ?? '';
      discardBody(response);
      const again = await transientIfBroken(() =>
        authenticator.answer(header, authorization, request.signal),
      );
      if (again) continue;
      throw answerError({
        status: 401,
        what: request.what,
        body: undefined,
        hadCredential: authenticator.hasCredential,
      });
    }
    return await accept(response, request, authenticator?.hasCredential ?? false);
  }
}

async function accept(
  response: IncomingMessage,
  request: RepositoryRequest,
  hadCredential: boolean,
): Promise<IncomingMessage> {
  const status = response.statusCode ?? 0;
  if (status === 200 || status === 206) return response;
  const body = await readErrorBody(response);
  const error = answerError({ status, what: request.what, body, hadCredential });
  if (!isTransientStatus(status)) throw error;
  throw new Transient(error, retryAfterMs(response.headers['retry-after'], Date.now()));
}

export interface Walk {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** What goes along to another origin: no credentials and nothing of hosts.toml. */
  readonly plainHeaders: Readonly<Record<string, string>>;
  readonly tls: TlsSettings;
  readonly dialTimeoutMs: number;
  readonly signal: AbortSignal;
}

const noTlsSettings: TlsSettings = { caPems: [], clientPairs: [], skipVerify: false };

export interface Arrival {
  readonly response: IncomingMessage;
  /** False when another origin than the first one answered: what it demands is not for us to give. */
  readonly home: boolean;
}

/**
 * GET, following redirects by hand. What belongs to the first origin (credentials, headers, client certificate) is
 * not shown to another one; its trust settings stay, since a registry's own storage often shares its private CA.
 * @throws EngineError permission-denied for a redirect that must not be followed, unavailable for too many
 */
export async function followRedirects(pool: AgentPool, walk: Walk): Promise<Arrival> {
  let { url } = walk;
  for (let hops = 0; ; hops += 1) {
    const home = url.origin === walk.url.origin;
    const response = await exchange(pool, {
      method: 'GET',
      url,
      headers: { ...(home ? walk.headers : walk.plainHeaders) },
      tls: home ? walk.tls : { ...noTlsSettings, caPems: walk.tls.caPems, skipVerify: walk.tls.skipVerify },
      dialTimeoutMs: walk.dialTimeoutMs,
      signal: walk.signal,
    });
    const { location } = response.headers;
    if (!isRedirect(response) || location === undefined) return { response, home };
    discardBody(response);
    if (hops === maxRedirects) {
      throw new EngineError('unavailable', `GET ${redactUrl(walk.url)}: more than ${maxRedirects} redirects`);
    }
    url = checkRedirect(url, location);
  }
}

function isRedirect(response: IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(response.statusCode ?? 0);
}

function checkRedirect(from: URL, location: string): URL {
  const to = URL.parse(location, from.href);
  const refuse = (reason: string): EngineError =>
    new EngineError('permission-denied', `GET ${redactUrl(from)}: redirect refused: ${reason}`);
  if (to === null || !['http:', 'https:'].includes(to.protocol))
    throw refuse('it is not an http or https URL');
  if (from.protocol === 'https:' && to.protocol === 'http:') throw refuse(`${redactUrl(to)} is not https`);
  if (to.username !== '' || to.password !== '') throw refuse(`${redactUrl(to)} carries credentials`);
  if (isInternalHost(to.hostname) && !isInternalHost(from.hostname)) {
    throw refuse(`${redactUrl(to)} is a loopback or link-local address`);
  }
  return to;
}

const maxErrorBytes = 16 * 1024;

/** The first bytes of an error's body, for its code and message; what else comes is dropped with the connection. */
async function readErrorBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const idle = setTimeout(() => response.destroy(), 5000);
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= maxErrorBytes) break;
    }
  } catch {
    // The status alone says enough.
  } finally {
    clearTimeout(idle);
  }
  return Buffer.concat(chunks).subarray(0, maxErrorBytes);
}
