/**
 * Proves who is asking: basic, bearer tokens from a token server, or a token as given (distribution-spec, "token
 * authentication"). A token server is named by the registry's answer, so where it may be is checked first.
 */
import { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { parseUntrustedJson } from '../../lib/untrusted-json.ts';
import { isPrivateHost } from './addresses.ts';
import type { AgentPool } from './agent-pool.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credential } from './credentials.ts';
import type { RegistryHost } from './hosts.ts';
import { redactUrl } from './redact.ts';
import { isTransientStatus, Transient } from './retry.ts';
import { exchange, readBody } from './transport.ts';

const maxTokenBytes = 256 * 1024;
const tokenIdleMs = 30_000;
const clientId = 'gantry';

const tokenSchema = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
});

/** The standing of one pull with one host. */
export class Authenticator {
  readonly #pool: AgentPool;
  readonly #host: RegistryHost;
  readonly #credential: Credential | undefined;
  readonly #scope: string;
  #authorization: string | undefined;

  constructor(
    pool: AgentPool,
    host: RegistryHost,
    who: { readonly credential: Credential | undefined; readonly scope: string },
  ) {
    this.#pool = pool;
    this.#host = host;
    this.#credential = who.credential;
    this.#scope = who.scope;
    if (who.credential?.kind === 'registry-token') this.#authorization = `Bearer ${who.credential.token}`;
  }

  /** The header for the next request, if one is known already. */
  get authorization(): string | undefined {
    return this.#authorization;
  }

  /** True when the user gave something to prove himself with. */
  get hasCredential(): boolean {
    return this.#credential !== undefined;
  }

  /**
   * Answers a 401. True when the request is worth repeating.
   * @throws EngineError unauthenticated, permission-denied or unavailable from the token server
   */
  async answer(header: string, refusedHeader: string | undefined, signal: AbortSignal): Promise<boolean> {
    // Another request of this pull got a new token in the meantime.
    if (this.#authorization !== undefined && this.#authorization !== refusedHeader) return true;
    const challenges = parseChallenges(header);
    const bearer = challenges.find((challenge) => challenge.scheme === 'bearer');
    if (bearer !== undefined && this.#credential?.kind !== 'registry-token') {
      this.#authorization = `Bearer ${await this.#fetchToken(bearer, signal)}`;
      return this.#authorization !== refusedHeader;
    }
    const basic = challenges.some((challenge) => challenge.scheme === 'basic');
    if (!basic || this.#credential?.kind !== 'basic') return false;
    this.#authorization = basicHeader(this.#credential);
    return this.#authorization !== refusedHeader;
  }

  async #fetchToken(challenge: Challenge, signal: AbortSignal): Promise<string> {
    const realm = checkRealm(challenge.parameters.get('realm') ?? '', this.#host);
    const service = challenge.parameters.get('service');
    const scope = challenge.parameters.get('scope') ?? this.#scope;
    const response = await exchange(this.#pool, {
      ...tokenRequest(realm, this.#credential, { service, scope }),
      tls: this.#host.tls,
      dialTimeoutMs: this.#host.dialTimeoutMs,
      signal,
    });
    const what = `token from ${redactUrl(realm)}`;
    const body = await readBody(response, { maxBytes: maxTokenBytes, what, idleMs: tokenIdleMs }, signal);
    checkTokenStatus(response.statusCode ?? 0, what, this.#credential !== undefined);
    return readToken(body, what);
  }
}

function tokenRequest(
  realm: URL,
  credential: Credential | undefined,
  claim: { readonly service: string | undefined; readonly scope: string },
): { method: 'GET' | 'POST'; url: URL; headers: Record<string, string>; body?: string } {
  const fields = new URLSearchParams(realm.searchParams);
  if (claim.service !== undefined) fields.set('service', claim.service);
  for (const scope of claim.scope.split(' ')) if (scope !== '') fields.append('scope', scope);
  if (credential?.kind === 'identity-token') {
    fields.set('grant_type', 'refresh_token');
    fields.set('refresh_token', credential.token);
    fields.set('client_id', clientId);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return { method: 'POST', url: realm, headers, body: fields.toString() };
  }
  const url = new URL(realm);
  if (credential?.kind === 'basic') fields.set('account', credential.username);
  url.search = fields.toString();
  const headers = credential?.kind === 'basic' ? { authorization: basicHeader(credential) } : {};
  return { method: 'GET', url, headers };
}

/**
 * A registry may name a token server elsewhere, but not one inside the node or its private network, unless it is the
 * registry itself (CVE-2020-15157 and its like); and an https registry may not have credentials sent in the clear.
 * @throws EngineError permission-denied
 */
export function checkRealm(text: string, host: Pick<RegistryHost, 'origin'>): URL {
  const registry = new URL(host.origin);
  const realm = URL.parse(text);
  if (realm === null || !['http:', 'https:'].includes(realm.protocol) || realm.username !== '') {
    throw refuseRealm(host, quote(text), 'is not an http or https URL');
  }
  if (realm.protocol === 'http:' && registry.protocol !== 'http:') {
    throw refuseRealm(host, redactUrl(realm), 'is not https, the registry is');
  }
  if (realm.host !== registry.host && isPrivateHost(realm.hostname)) {
    throw refuseRealm(host, redactUrl(realm), 'is a private, loopback or link-local address');
  }
  return realm;
}

function refuseRealm(host: Pick<RegistryHost, 'origin'>, realm: string, reason: string): EngineError {
  return new EngineError('permission-denied', `registry ${host.origin}: its token server ${realm} ${reason}`);
}

function checkTokenStatus(status: number, what: string, hadCredential: boolean): void {
  if (status === 200) return;
  if (isTransientStatus(status)) {
    throw new Transient(new EngineError('unavailable', `${what}: HTTP ${status}`));
  }
  // A redirect is not followed: it could lead past the check of the realm, with the credentials.
  const denied = status === 401 || status === 403 || status === 400;
  if (!denied) throw new EngineError('unavailable', `${what}: HTTP ${status}`);
  const reason = hadCredential ? 'the credentials were refused' : 'anonymous access was refused';
  throw new EngineError(
    hadCredential ? 'permission-denied' : 'unauthenticated',
    `${what}: ${reason} (HTTP ${status})`,
  );
}

function readToken(body: Buffer, what: string): string {
  let value: unknown;
  try {
    value = parseUntrustedJson(body);
  } catch (error) {
    // What it is instead is not shown: it may be half a token.
    throw new EngineError('data-loss', `${what}: not JSON, or more than a token needs`, { cause: error });
  }
  const parsed = tokenSchema.safeParse(value);
  const token = parsed.success ? parsed.data.token || parsed.data.access_token : undefined;
  // RFC 6750, 2.1: what may stand in the header; anything else would be an injection.
  if (token === undefined || token === null || !/^[\w.~+/=-]+$/.test(token)) {
    throw new EngineError('data-loss', `${what}: the answer holds no usable token`);
  }
  return token;
}

function basicHeader(credential: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${credential.username}:${credential.password}`).toString('base64')}`;
}
