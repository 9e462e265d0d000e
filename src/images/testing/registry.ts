/**
 * A registry in memory, over real HTTP, that can lie: for tests of what the engine does with a bad one. It serves
 * what tests put into it (`serve`); a rule (`misbehave`) looks at each request first and may answer in its place.
 */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { BuiltBlob, BuiltImage } from './build-image.ts';

/** A request that reached the registry. */
export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Returns true when it has answered (or taken over) the request. */
export type Rule = (request: SeenRequest, response: ServerResponse) => boolean;

export interface TestTls {
  readonly certPem: string;
  readonly keyPem: string;
  /** Demand a client certificate signed by this authority. */
  readonly clientCaPem?: string;
}

export class TestRegistry implements AsyncDisposable {
  readonly #server: Server;
  readonly #blobs = new Map<string, Buffer>();
  readonly #manifests = new Map<
    string,
    { readonly mediaType: string; readonly bytes: Buffer; readonly digest: string }
  >();
  readonly #rules: Rule[] = [];
  readonly #secure: boolean;
  /** Every request so far, in order of arrival. */
  readonly requests: SeenRequest[] = [];

  private constructor(tls: TestTls | undefined) {
    const listener: RequestListener = (request, response) => void this.#receive(request, response);
    this.#secure = tls !== undefined;
    this.#server = tls === undefined ? createServer(listener) : tlsServer(tls, listener);
  }

  /** Listens on a free port of 127.0.0.1. */
  static async start(tls?: TestTls): Promise<TestRegistry> {
    const registry = new TestRegistry(tls);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    registry.#server.once('error', reject);
    registry.#server.listen(0, '127.0.0.1', resolve);
    await promise;
    return registry;
  }

  /** `127.0.0.1:34567`. */
  get host(): string {
    const address = this.#server.address() as AddressInfo;
    return `127.0.0.1:${address.port}`;
  }

  get url(): string {
    return `${this.#secure ? 'https' : 'http'}://${this.host}`;
  }

  /** Makes an image available; returns its reference. */
  serve(repository: string, tag: string, image: BuiltImage): string {
    for (const blob of [...image.layers, image.config]) this.serveBlob(blob);
    return this.serveManifest(repository, tag, image.manifest);
  }

  /** Makes a manifest or an index available under a tag and its digest, whatever it says. */
  serveManifest(repository: string, tag: string, manifest: BuiltBlob): string {
    for (const name of [tag, manifest.digest]) this.#manifests.set(`${repository}:${name}`, manifest);
    return `${this.host}/${repository}:${tag}`;
  }

  /** Makes bytes available under a digest, which need not be theirs. */
  serveBlob(blob: Pick<BuiltBlob, 'digest' | 'bytes'>): void {
    this.#blobs.set(blob.digest, blob.bytes);
  }

  /** Adds a rule; the last one added is asked first. Ends when disposed. */
  misbehave(rule: Rule): Disposable {
    this.#rules.unshift(rule);
    return { [Symbol.dispose]: () => void this.#rules.splice(this.#rules.indexOf(rule), 1) };
  }

  /** How many requests had a path with this in it. */
  count(part: string): number {
    return this.requests.filter((request) => request.url.includes(part)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch {
      return;
    }
    const seen: SeenRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    this.requests.push(seen);
    if (!this.#rules.some((rule) => rule(seen, response))) this.#answer(seen, response);
  }

  #answer(request: SeenRequest, response: ServerResponse): void {
    const { pathname } = new URL(request.url, 'http://registry');
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname);
    const [, repository = '', kind = '', name = ''] = match ?? [];
    if (kind === 'blobs') return sendBlob(this.#blobs.get(name), request, response);
    const manifest = this.#manifests.get(`${repository}:${name}`);
    if (manifest === undefined) return sendError(response, 404, 'MANIFEST_UNKNOWN');
    response.writeHead(200, {
      'content-type': manifest.mediaType,
      'content-length': manifest.bytes.length,
      'docker-content-digest': manifest.digest,
    });
    response.end(manifest.bytes);
  }
}

/** An answer of the distribution API that refuses. */
export function sendError(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] }));
}

/** Demands a bearer token, which its own `/token` gives to `account` or, without one, to anyone. */
export function tokenAuth(registry: TestRegistry, account?: { name: string; password: string }): Rule {
  const basic = account && `Basic ${Buffer.from(`${account.name}:${account.password}`).toString('base64')}`;
  return (request, response) => {
    if (request.url.startsWith('/token')) {
      if (basic !== undefined && request.headers.authorization !== basic) {
        sendError(response, 401, 'UNAUTHORIZED');
      } else {
        response.end(JSON.stringify({ token: 'good-token' }));
      }
      return true;
    }
    if (request.headers.authorization === 'Bearer good-token') return false;
    const challenge = `Bearer realm="${registry.url}/token",service="test",scope="repository:app:pull"`;
    sendError(response, 401, 'UNAUTHORIZED', { 'www-authenticate': challenge });
    return true;
  };
}

function sendBlob(bytes: Buffer | undefined, request: SeenRequest, response: ServerResponse): void {
  if (bytes === undefined) return sendError(response, 404, 'BLOB_UNKNOWN');
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const start = Number(range?.[1] ?? 0);
  if (range !== null && start >= bytes.length) return sendError(response, 416, 'RANGE_INVALID');
  const headers = { 'content-type': 'application/octet-stream', 'content-length': bytes.length - start };
  if (range === null) response.writeHead(200, headers);
  else {
    const contentRange = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(206, { ...headers, 'content-range': contentRange });
  }
  response.end(bytes.subarray(start));
}

function tlsServer(tls: TestTls, listener: RequestListener): Server {
  const client =
    tls.clientCaPem === undefined ? {} : { ca: tls.clientCaPem, requestCert: true, rejectUnauthorized: true };
  return createTlsServer({ cert: tls.certPem, key: tls.keyPem, ...client }, listener);
}
