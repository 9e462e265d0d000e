/** The proxy that the environment names for a URL, by the usual rules of HTTP_PROXY, HTTPS_PROXY and NO_PROXY. */
import { BlockList, isIP } from 'node:net';
import { bareHost, isLoopbackHost } from './addresses.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The proxy's URL, or undefined for a direct connection. This machine itself is never asked through a proxy. */
export function proxyFor(url: URL, environment: Environment): string | undefined {
  const name = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const proxy = environment[name] ?? environment[name.toUpperCase()];
  if (proxy === undefined || proxy === '') return undefined;
  if (isLoopbackHost(url.hostname)) return undefined;
  const exceptions = environment['no_proxy'] ?? environment['NO_PROXY'] ?? '';
  if (exceptions.split(',').some((entry) => matches(url, entry.trim().toLowerCase()))) return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

/** `*`, an address, a CIDR range, `name` (and its subdomains), `.name` (subdomains only), each with an optional port. */
function matches(url: URL, entry: string): boolean {
  if (entry === '') return false;
  if (entry === '*') return true;
  const host = bareHost(url.hostname);
  if (entry.includes('/')) return inRange(host, entry);
  const [name, port] = splitPort(entry);
  if (port !== undefined && port !== effectivePort(url)) return false;
  if (isIP(name) !== 0) return sameAddress(host, name);
  if (name.startsWith('*.')) return host.endsWith(name.slice(1));
  if (name.startsWith('.')) return host.endsWith(name);
  return host === name || host.endsWith(`.${name}`);
}

function inRange(host: string, cidr: string): boolean {
  const [net = '', prefixText = ''] = cidr.split('/');
  const family = isIP(net);
  const prefix = Number(prefixText);
  const widest = family === 6 ? 128 : 32;
  if (family === 0 || isIP(host) === 0 || !/^\d+$/.test(prefixText) || prefix > widest) return false;
  const list = new BlockList();
  list.addSubnet(net, prefix, family === 6 ? 'ipv6' : 'ipv4');
  return list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
}

function sameAddress(host: string, address: string): boolean {
  return inRange(host, `${address}/${isIP(address) === 6 ? 128 : 32}`);
}

function splitPort(entry: string): readonly [string, string | undefined] {
  const bracketed = /^\[(.*)\](?::(\d+))?$/.exec(entry);
  if (bracketed !== null) return [bracketed[1] ?? '', bracketed[2]];
  const named = /^([^:]*):(\d+)$/.exec(entry);
  return named === null ? [entry, undefined] : [named[1] ?? '', named[2]];
}

function effectivePort(url: URL): string {
  if (url.port !== '') return url.port;
  return url.protocol === 'https:' ? '443' : '80';
}
