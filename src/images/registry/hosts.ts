/** Which hosts are asked for a repository, in which order: mirrors by `hosts.toml`, then the registry itself. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import { isLoopbackHost } from './addresses.ts';
import type { TlsSettings } from './agent-pool.ts';
import { type HostSettings, plainHost, readHostsDirectory } from './hosts-toml.ts';

export interface RegistryHost {
  /** Ends without a slash, the API's version included: `https://registry-1.docker.io/v2`. */
  readonly baseUrl: string;
  readonly origin: string;
  readonly canPull: boolean;
  /** May turn a tag into a digest. */
  readonly canResolve: boolean;
  readonly tls: TlsSettings;
  readonly dialTimeoutMs: number;
  readonly headers: Readonly<Record<string, string[]>>;
  /** True for what the reference names; false for a mirror, which never gets that registry's credentials. */
  readonly isOrigin: boolean;
  /** Added to each request (`?ns=`) so that a mirror knows which registry is meant. */
  readonly namespace: string | undefined;
}

const hubDomain = 'docker.io';
const hubHost = 'registry-1.docker.io';
const defaultDialTimeoutMs = 30_000;

/**
 * Reads the configuration of `domain` afresh: the first directory found wins, in the order of `roots`.
 * @throws EngineError failed-precondition for a file that cannot be used
 */
export async function registryHosts(
  roots: readonly string[],
  domain: string,
): Promise<readonly RegistryHost[]> {
  const directory = await findDirectory(roots, domain);
  const file =
    directory === undefined ? { mirrors: [], server: plainHost } : await readHostsDirectory(directory);
  const mirrors = file.mirrors.map((settings) => toHost(domain, settings, false));
  return [...mirrors, toHost(domain, file.server, true)];
}

async function findDirectory(roots: readonly string[], domain: string): Promise<string | undefined> {
  const colon = /:\d+$/.test(domain) ? domain.lastIndexOf(':') : -1;
  // A colon is not welcome in a file name everywhere, hence the form with underscores.
  const flat = colon === -1 ? [] : [`${domain.slice(0, colon)}_${domain.slice(colon + 1)}_`];
  for (const root of roots) {
    for (const name of [...flat, domain, '_default']) {
      if (await isDirectory(join(root, name))) return join(root, name);
    }
  }
  return undefined;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw new EngineError('failed-precondition', `read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function toHost(domain: string, settings: HostSettings, isOrigin: boolean): RegistryHost {
  const url = new URL(settings.url ?? defaultUrl(domain));
  const path = url.pathname.replaceAll(/\/{2,}/g, '/').replace(/\/$/, '');
  const versioned = settings.overridePath || path.endsWith('/v2') ? path : `${path}/v2`;
  return {
    baseUrl: url.origin + versioned,
    origin: url.origin,
    canPull: settings.capabilities.has('pull'),
    canResolve: settings.capabilities.has('resolve'),
    tls: settings.tls,
    dialTimeoutMs: settings.dialTimeoutMs ?? defaultDialTimeoutMs,
    headers: settings.headers,
    isOrigin,
    namespace: namesItself(domain, url.host) ? undefined : domain,
  };
}

function defaultUrl(domain: string): string {
  if (domain === hubDomain) return `https://${hubHost}`;
  const host = domain.replace(/:\d+$/, '');
  return `${isLoopbackHost(host) ? 'http' : 'https'}://${domain}`;
}

function namesItself(domain: string, host: string): boolean {
  return host === domain.toLowerCase() || (domain === hubDomain && host === hubHost);
}
