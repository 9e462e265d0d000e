/** Reads one `hosts.toml` in containerd's format, and the `*.crt`, `*.cert`, `*.key` files of Docker's. */
import { readdir, readFile } from 'node:fs/promises';
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import type { TlsSettings } from './agent-pool.ts';

/** The keys of one host, files still unread. */
const hostSchema = z.object({
  capabilities: z.array(z.enum(['pull', 'resolve', 'push', 'referrers'])).optional(),
  ca: z.union([z.string(), z.array(z.string())]).optional(),
  client: z.union([z.string(), z.array(z.union([z.string(), z.array(z.string()).min(1).max(2)]))]).optional(),
  skip_verify: z.boolean().optional(),
  override_path: z.boolean().optional(),
  dial_timeout: z.string().optional(),
  header: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional(),
});
const fileSchema = hostSchema.extend({
  server: z.string().optional(),
  host: z.record(z.string(), hostSchema).optional(),
});
type HostEntry = z.infer<typeof hostSchema>;

export interface HostSettings {
  /** As written, with a scheme; undefined for the registry itself. */
  readonly url: string | undefined;
  readonly capabilities: ReadonlySet<string>;
  readonly tls: TlsSettings;
  readonly overridePath: boolean;
  readonly dialTimeoutMs: number | undefined;
  readonly headers: Readonly<Record<string, string[]>>;
}

export interface HostsFile {
  /** In the order of the file. */
  readonly mirrors: readonly HostSettings[];
  /** What is asked last: the registry itself, or what `server` puts in its place. */
  readonly server: HostSettings;
}

const everything: ReadonlySet<string> = new Set(['pull', 'resolve', 'push']);

/**
 * Reads the directory of one registry. A mistake in it fails the pull by name: a mirror or a certificate that is
 * silently passed over is found out at the worst time.
 * @throws EngineError failed-precondition that names the file and the key
 */
export async function readHostsDirectory(directory: string): Promise<HostsFile> {
  const path = join(directory, 'hosts.toml');
  const text = await readOptional(path);
  if (text === undefined) return { mirrors: [], server: await dockerStyle(directory) };
  try {
    const file = fileSchema.parse(parse(text));
    const mirrors: HostSettings[] = [];
    for (const [url, entry] of Object.entries(file.host ?? {})) {
      mirrors.push(await readHost(directory, withScheme(url), entry));
    }
    const serverUrl = file.server === undefined ? undefined : withScheme(file.server);
    return { mirrors, server: await readHost(directory, serverUrl, file) };
  } catch (error) {
    throw new EngineError('failed-precondition', `read ${path}: ${explain(error)}`, { cause: error });
  }
}

async function readHost(directory: string, url: string | undefined, entry: HostEntry): Promise<HostSettings> {
  if (url !== undefined) checkUrl(url);
  const cas = typeof entry.ca === 'string' ? [entry.ca] : (entry.ca ?? []);
  const clients = typeof entry.client === 'string' ? [entry.client] : (entry.client ?? []);
  return {
    url,
    capabilities: entry.capabilities === undefined ? everything : new Set(entry.capabilities),
    tls: {
      caPems: await Promise.all(cas.map((file) => readFile(resolve(directory, file), 'utf8'))),
      clientPairs: await Promise.all(clients.map((client) => readClientPair(directory, client))),
      skipVerify: entry.skip_verify ?? false,
    },
    overridePath: entry.override_path ?? false,
    dialTimeoutMs: entry.dial_timeout === undefined ? undefined : parseDurationMs(entry.dial_timeout),
    headers: readHeaders(entry.header ?? {}),
  };
}

/** One file may hold both: then it is named alone, or with an empty second name. */
async function readClientPair(
  directory: string,
  client: string | readonly string[],
): Promise<{ certPem: string; keyPem: string }> {
  const [cert = '', key = ''] = typeof client === 'string' ? [client] : client;
  const certPem = await readFile(resolve(directory, cert), 'utf8');
  return { certPem, keyPem: key === '' ? certPem : await readFile(resolve(directory, key), 'utf8') };
}

async function dockerStyle(directory: string): Promise<HostSettings> {
  try {
    const names = (await readdir(directory)).toSorted();
    const read = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
    const certs = names.filter((name) => name.endsWith('.cert'));
    const tls: TlsSettings = {
      caPems: await Promise.all(names.filter((name) => name.endsWith('.crt')).map(read)),
      clientPairs: await Promise.all(
        certs.map(async (name) => ({
          certPem: await read(name),
          keyPem: await read(name.replace(/\.cert$/, '.key')),
        })),
      ),
      skipVerify: false,
    };
    return { ...plainHost, tls };
  } catch (error) {
    throw new EngineError(
      'failed-precondition',
      `read the certificates in ${directory}: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** A registry for which nothing is configured. */
export const plainHost: HostSettings = {
  url: undefined,
  capabilities: everything,
  tls: { caPems: [], clientPairs: [], skipVerify: false },
  overridePath: false,
  dialTimeoutMs: undefined,
  headers: {},
};

function withScheme(url: string): string {
  return url.includes('://') ? url : `https://${url}`;
}

function checkUrl(text: string): void {
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    throw new Error(`"${text}" is not an http or https URL`);
  }
  if (url.username !== '' || url.search !== '' || url.hash !== '') {
    throw new Error(`host ${url.host}: a URL with credentials, a query or a fragment`);
  }
}

function readHeaders(raw: Readonly<Record<string, string | string[]>>): Readonly<Record<string, string[]>> {
  const headers: Record<string, string[]> = {};
  for (const [name, value] of Object.entries(raw)) {
    const values = typeof value === 'string' ? [value] : value;
    validateHeaderName(name);
    for (const one of values) validateHeaderValue(name, one);
    headers[name.toLowerCase()] = values;
  }
  return headers;
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** `1s`, `500ms`, `1m30s`. The bundler leaves patterns as they are: one letter that is not ASCII would double the memory that its file takes. */
function parseDurationMs(text: string): number {
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|\u00b5s|ms|s|m|h))+$/.test(text)) throw new Error(`dial_timeout "${text}"`);
  let total = 0;
  for (const [, amount, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|\u00b5s|ms|s|m|h)/g)) {
    total += Number(amount) * (unitMs[unit] ?? 0);
  }
  return Math.max(1, Math.round(total));
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new EngineError('failed-precondition', `read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function explain(error: unknown): string {
  if (!(error instanceof z.ZodError)) return messageOf(error);
  const issue = error.issues[0];
  return `${issue?.path.map(String).join('.') ?? ''}: ${issue?.message ?? 'invalid'}`;
}
