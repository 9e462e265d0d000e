/** Downloads of layers: a stream of verified bytes that survives broken connections and notices silent ones. */
import type { IncomingMessage } from 'node:http';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { checkHash, hashFor } from '../digest.ts';
import type { Descriptor } from '../manifest.ts';
import { askHosts, followRedirects, type Repository, transientIfBroken } from './client.ts';
import { isInternalHost } from './addresses.ts';
import { redactUrl } from './redact.ts';
import { backOffMs, isTransient, pause, withRetry } from './retry.ts';
import { answerError } from './status.ts';

export interface Download {
  readonly descriptor: Descriptor;
  /** `layer sha256:... of docker.io/library/busybox:latest`. */
  readonly what: string;
  /** Called with the number of bytes that just arrived. */
  readonly onBytes?: ((count: number) => void) | undefined;
  readonly signal: AbortSignal;
}

/**
 * The bytes of a blob, in order. The end is reached only if size and digest are those of the descriptor: whoever read
 * to the end may believe what was read, whoever did not must throw it away. A broken connection is resumed where it
 * broke, as long as each try brings something.
 * @throws EngineError data-loss (size, digest), deadline-exceeded (no byte for `progressTimeoutMs`), unavailable
 */
export async function* downloadBlob(repository: Repository, download: Download): AsyncGenerator<Uint8Array> {
  const { descriptor, what } = download;
  const hash = hashFor(descriptor.digest);
  let received = 0;
  let fruitless = 0;
  while (received < descriptor.sizeBytes || received === 0) {
    const before = received;
    let broken: unknown;
    try {
      for await (const chunk of readFrom(repository, download, received)) {
        hash.update(chunk);
        received += chunk.length;
        download.onBytes?.(chunk.length);
        yield chunk;
      }
      if (descriptor.sizeBytes === 0) break;
    } catch (error) {
      download.signal.throwIfAborted();
      if (!isTransient(error)) throw error;
      broken = error;
    }
    if (received >= descriptor.sizeBytes) break;
    fruitless = received === before ? fruitless + 1 : 1;
    if (fruitless >= repository.retry.attempts) throw shortError(download, received, broken);
    await pause(backOffMs(repository.retry, fruitless), download.signal);
  }
  checkHash(hash, descriptor.digest, what);
}

function shortError(download: Download, received: number, broken: unknown): EngineError {
  const { what, descriptor } = download;
  const progress = `${received} of ${descriptor.sizeBytes} bytes`;
  if (broken === undefined) return new EngineError('data-loss', `${what}: it ends after ${progress}`);
  return new EngineError('unavailable', `${what}: broken off after ${progress}: ${messageOf(broken)}`, {
    cause: broken,
  });
}

/** The bytes from `offset` on, over one connection. */
async function* readFrom(repository: Repository, download: Download, offset: number): AsyncGenerator<Buffer> {
  const response = await openBlob(repository, download, offset);
  try {
    let skip = checkRange(response, download, offset);
    let left = download.descriptor.sizeBytes - offset;
    for await (const chunk of chunksInTime(response, repository.progressTimeoutMs, download)) {
      const fresh = chunk.subarray(skip);
      skip -= chunk.length - fresh.length;
      if (fresh.length === 0) continue;
      left -= fresh.length;
      if (left < 0) throw tooLong(download);
      yield fresh;
    }
  } finally {
    response.destroy();
  }
}

async function openBlob(
  repository: Repository,
  download: Download,
  offset: number,
): Promise<IncomingMessage> {
  const { descriptor, what, signal } = download;
  const headers: Readonly<Record<string, string>> = offset === 0 ? {} : { range: `bytes=${offset}-` };
  try {
    const hosts = repository.hosts.filter((host) => host.canPull);
    const request = { hosts, suffix: `blobs/${descriptor.digest}`, headers, what, signal };
    return await askHosts(repository, request, (response) => Promise.resolve(response));
  } catch (error) {
    for (const text of descriptor.urls) {
      const response = await openForeign(repository, download, { text, headers });
      if (response !== undefined) return response;
    }
    throw error;
  }
}

/** A foreign layer's own address, asked as a stranger: no credentials, nothing of hosts.toml (CVE-2026-53495, CVE-2020-15157). */
async function openForeign(
  repository: Repository,
  download: Download,
  address: { readonly text: string; readonly headers: Readonly<Record<string, string>> },
): Promise<IncomingMessage | undefined> {
  const url = URL.parse(address.text);
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.username !== '') return undefined;
  const home = new URL(repository.hosts.at(-1)?.origin ?? 'https://invalid');
  if (isInternalHost(url.hostname) && !isInternalHost(home.hostname)) return undefined;
  const { response } = await withRetry(repository.retry, download.signal, () =>
    transientIfBroken(() =>
      followRedirects(repository.pool, {
        url,
        headers: address.headers,
        plainHeaders: address.headers,
        tls: { caPems: [], clientPairs: [], skipVerify: false },
        dialTimeoutMs: 30_000,
        signal: download.signal,
      }),
    ),
  );
  const status = response.statusCode ?? 0;
  if (status === 200 || status === 206) return response;
  response.destroy();
  throw answerError({
    status,
    what: `${download.what} at ${redactUrl(url)}`,
    body: undefined,
    hadCredential: false,
  });
}

/** How many bytes of the answer to skip: none of a 206, all that we have of a 200 from a server without ranges. */
function checkRange(response: IncomingMessage, download: Download, offset: number): number {
  const length = Number(response.headers['content-length'] ?? Number.NaN);
  const whole = response.statusCode === 200;
  const start = whole ? 0 : rangeStart(response.headers['content-range']);
  if (start !== (whole ? 0 : offset)) {
    throw new EngineError(
      'data-loss',
      `${download.what}: asked for bytes from ${offset}, got some from ${start}`,
    );
  }
  const { sizeBytes } = download.descriptor;
  if (!Number.isNaN(length) && start + length !== sizeBytes) {
    throw new EngineError(
      'data-loss',
      `${download.what}: size mismatch: expected ${sizeBytes} bytes, the registry has ${start + length}`,
    );
  }
  return whole ? offset : 0;
}

function rangeStart(header: string | undefined): number {
  return Number(/^bytes (\d{1,15})-/.exec(header ?? '')?.[1] ?? Number.NaN);
}

function tooLong(download: Download): EngineError {
  const { what, descriptor } = download;
  return new EngineError(
    'data-loss',
    `${what}: size mismatch: more than the ${descriptor.sizeBytes} bytes expected`,
  );
}

/** The clock runs only while the network is waited for, not while the reader is busy with what came. */
async function* chunksInTime(
  response: IncomingMessage,
  timeoutMs: number,
  download: Download,
): AsyncGenerator<Buffer> {
  const silence = new EngineError(
    'deadline-exceeded',
    `${download.what}: no byte arrived for ${timeoutMs} ms`,
  );
  const iterator = (response as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  for (;;) {
    const timer = setTimeout(() => response.destroy(silence), timeoutMs);
    let step: IteratorResult<Buffer>;
    try {
      step = await iterator.next();
    } finally {
      clearTimeout(timer);
    }
    if (step.done === true) return;
    yield step.value;
  }
}
