/** Fetches manifests, indexes and configs whole, their digests verified. */
import type { IncomingMessage } from 'node:http';
import { EngineError } from '../../lib/errors.ts';
import { type Digest, isDigest, parseDigest } from '../../lib/ids.ts';
import { checkDigest, digestOf } from '../digest.ts';
import { type Descriptor, maxDocumentBytes } from '../manifest.ts';
import { acceptedManifests } from '../media-types.ts';
import { askHosts, type Repository } from './client.ts';
import { readBody } from './transport.ts';

export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly contentType: string | undefined;
  readonly digest: Digest;
}

/**
 * Fetches by tag or by digest. With a digest the bytes are that digest's; by tag the digest is computed, and the
 * registry's own word for it must agree.
 * @throws EngineError not-found, unauthenticated, permission-denied, unavailable, data-loss
 */
export async function fetchManifest(
  repository: Repository,
  wanted: { readonly tagOrDigest: string; readonly what: string },
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const digest = isDigest(wanted.tagOrDigest) ? parseDigest(wanted.tagOrDigest) : undefined;
  const may = digest === undefined ? ('canResolve' as const) : ('canPull' as const);
  return await askHosts(
    repository,
    {
      hosts: repository.hosts.filter((host) => host[may]),
      suffix: `manifests/${wanted.tagOrDigest}`,
      headers: { accept: acceptedManifests },
      what: wanted.what,
      signal,
    },
    async (response) => {
      const bytes = await readDocument(repository, response, wanted.what, signal);
      const claimed = response.headers['docker-content-digest'];
      const expected =
        digest ?? (typeof claimed === 'string' && isDigest(claimed) ? parseDigest(claimed) : undefined);
      if (expected !== undefined) checkDigest(bytes, expected, wanted.what);
      return {
        bytes,
        contentType: response.headers['content-type'],
        digest: expected ?? digestOf(bytes, 'sha256'),
      };
    },
  );
}

/** Fetches a small blob (a config). @throws EngineError as fetchManifest */
export async function fetchDocument(
  repository: Repository,
  wanted: { readonly descriptor: Descriptor; readonly what: string },
  signal: AbortSignal,
): Promise<Buffer> {
  const { descriptor, what } = wanted;
  return await askHosts(
    repository,
    {
      hosts: repository.hosts.filter((host) => host.canPull),
      suffix: `blobs/${descriptor.digest}`,
      headers: {},
      what,
      signal,
    },
    async (response) => {
      const bytes = await readDocument(repository, response, what, signal);
      if (bytes.length !== descriptor.sizeBytes) {
        throw new EngineError(
          'data-loss',
          `${what}: ${bytes.length} bytes, the manifest says ${descriptor.sizeBytes}`,
        );
      }
      checkDigest(bytes, descriptor.digest, what);
      return bytes;
    },
  );
}

async function readDocument(
  repository: Repository,
  response: IncomingMessage,
  what: string,
  signal: AbortSignal,
): Promise<Buffer> {
  const limit = { maxBytes: maxDocumentBytes, what, idleMs: repository.progressTimeoutMs };
  return await readBody(response, limit, signal);
}
