/** What the user gave to prove himself with, and to whom it may be shown. */
import { EngineError } from '../../lib/errors.ts';
import type { RegistryHost } from './hosts.ts';

/** The AuthConfig of the CRI, absent fields undefined. */
export interface RegistryAuth {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Base64 of `username:password`. */
  readonly auth?: string | undefined;
  /** The registry that the rest is for: a host or a URL. */
  readonly serverAddress?: string | undefined;
  /** Exchanged for an access token at the token server. */
  readonly identityToken?: string | undefined;
  /** Sent to the registry as it is. */
  readonly registryToken?: string | undefined;
}

export type Credential =
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string }
  | { readonly kind: 'registry-token'; readonly token: string };

/**
 * The credential for `host`, or undefined for an anonymous request. Credentials go to the registry that the
 * reference names, and to nobody else: a mirror gets them only when they are addressed to it by `serverAddress`.
 * @throws EngineError invalid-argument when `auth` is not base64 of `name:password`
 */
export function credentialFor(
  auth: RegistryAuth | undefined,
  domain: string,
  host: RegistryHost,
): Credential | undefined {
  if (auth === undefined) return undefined;
  const server = filled(auth.serverAddress);
  const addressed = server === undefined ? host.isOrigin : isAddressed(server, domain, host);
  return addressed ? readCredential(auth) : undefined;
}

function readCredential(auth: RegistryAuth): Credential | undefined {
  const registryToken = filled(auth.registryToken);
  if (registryToken !== undefined) return { kind: 'registry-token', token: checkedToken(registryToken) };
  const username = filled(auth.username);
  if (username !== undefined) return { kind: 'basic', username, password: auth.password ?? '' };
  const identityToken = filled(auth.identityToken);
  if (identityToken !== undefined) return { kind: 'identity-token', token: identityToken };
  const encoded = filled(auth.auth);
  return encoded === undefined ? undefined : decodeBasic(encoded);
}

/** It becomes a header: a line break in it would be an injection. */
function checkedToken(token: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new EngineError('invalid-argument', 'auth.registry_token has characters that a header cannot have');
}

function decodeBasic(encoded: string): Credential {
  const text = Buffer.from(encoded, 'base64').toString('utf8').replaceAll('\0', '');
  const colon = text.indexOf(':');
  if (colon === -1) {
    throw new EngineError('invalid-argument', 'auth.auth is not the base64 text of name:password');
  }
  return { kind: 'basic', username: text.slice(0, colon), password: text.slice(colon + 1) };
}

function isAddressed(server: string, domain: string, host: RegistryHost): boolean {
  const addressee = normalHost(server);
  if (addressee === undefined) return false;
  if (addressee === normalHost(host.origin)) return true;
  return host.isOrigin && addressee === normalHost(domain);
}

const hubNames: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

function normalHost(text: string): string | undefined {
  const url = URL.parse(text.includes('://') ? text : `https://${text}`);
  if (url === null || url.host === '') return undefined;
  return hubNames.has(url.host) ? 'docker.io' : url.host.replace(/:(?:443|80)$/, '');
}

function filled(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text;
}
