/**
 * PullImage: reference -> hosts -> manifest -> missing layers, unpacked while they download -> record. The record is
 * written last; until then a lease keeps garbage collection away, and a pull that fails takes its layers with it.
 */
import { createHash } from 'node:crypto';
import { EngineError } from '../lib/errors.ts';
import type { ChainId, Digest } from '../lib/ids.ts';
import { chainIdsOf } from './chain-id.ts';
import { collectGarbage } from './garbage-collection.ts';
import type { Image, ImageRecord } from './image-record.ts';
import type { Images } from './images.ts';
import type { Lease } from './leases.ts';
import type { Platform } from './manifest.ts';
import { hostPlatform, platformText } from './platform.ts';
import { type LayerProgress, pullLayers } from './pull-layers.ts';
import { type ResolvedImage, resolveRemote } from './pull-manifest.ts';
import {
  canonicalString,
  digestReference,
  type ImageReference,
  parseReference,
  tagReference,
} from './reference.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { openRepository, type Repository } from './registry/client.ts';
import type { RegistryAuth } from './registry/credentials.ts';
import { registryHosts } from './registry/hosts.ts';

export interface PullRequest {
  /** As the user wrote it. */
  readonly reference: string;
  readonly auth?: RegistryAuth | undefined;
  /** This machine's unless given. */
  readonly platform?: Platform | undefined;
  /** Called for the layers that this pull downloads itself, not for those it shares with another one. */
  readonly onProgress?: ((progress: LayerProgress) => void) | undefined;
}

/**
 * Pulls, or joins a pull of the same reference with the same credentials that is under way. Idempotent. When `signal`
 * is aborted the work is undone, unless others wait for it.
 * @throws EngineError invalid-argument (reference), not-found, unauthenticated, permission-denied, unavailable,
 *   data-loss (what came is not what was announced), deadline-exceeded (no progress), resource-exhausted (disk full)
 */
export async function pullImage(deps: Images, request: PullRequest, signal: AbortSignal): Promise<Image> {
  const reference = parseReference(request.reference);
  const platform = request.platform ?? hostPlatform();
  const key = flightKey(reference, platform, request.auth);
  const what = deps.pulls.isUnderWay(key) ? 'wait for the same pull' : 'pull';
  return await phase(what, () =>
    deps.pulls.do(key, signal, (flightSignal) =>
      pullAlone(deps, { ...request, reference, platform }, flightSignal),
    ),
  );
}

interface PullWork extends Omit<PullRequest, 'reference'> {
  readonly reference: ImageReference;
  readonly platform: Platform;
}

async function pullAlone(deps: Images, work: PullWork, signal: AbortSignal): Promise<Image> {
  try {
    using lease = deps.leases.open();
    return await pullLeased(deps, { ...work, lease }, signal);
  } catch (error) {
    // Only after the lease is gone: what this pull brought and nobody else needs goes again.
    await phase('undo', () => collectGarbage(deps));
    signal.throwIfAborted();
    throw EngineError.from(error);
  }
}

async function pullLeased(
  deps: Images,
  work: PullWork & { readonly lease: Lease },
  signal: AbortSignal,
): Promise<Image> {
  const { reference, lease } = work;
  const name = canonicalString(reference);
  const repository = await openRemote(deps, work);
  const wanted = { reference, platform: work.platform, lease: (digest: Digest) => lease.add(digest) };
  const resolved = await phase('manifest', () =>
    resolveRemote({ content: deps.content, repository }, wanted, signal),
  );
  const chainIds = chainIdsOf(resolved.config.diffIds);
  for (const chainId of chainIds) lease.add(chainId);
  await pullLayers(
    deps,
    {
      repository,
      name,
      layers: resolved.layers,
      diffIds: resolved.config.diffIds,
      chainIds,
      onProgress: work.onProgress,
    },
    signal,
  );
  return await phase('commit', async () => {
    for (const { digest, bytes } of resolved.documents) await deps.content.write(digest, bytes);
    signal.throwIfAborted();
    return deps.store.commit(toRecord(deps, { reference, resolved, chainIds }));
  });
}

async function openRemote(deps: Images, work: PullWork): Promise<Repository> {
  const { domain, path } = work.reference;
  return openRepository({
    pool: deps.pool,
    hosts: await registryHosts(deps.certsRoots, domain),
    domain,
    path,
    auth: work.auth,
    retry: deps.retry,
    progressTimeoutMs: deps.pullProgressTimeoutMs,
  });
}

function toRecord(
  deps: Images,
  pulled: {
    readonly reference: ImageReference;
    readonly resolved: ResolvedImage;
    readonly chainIds: readonly ChainId[];
  },
): ImageRecord {
  const { reference, resolved, chainIds } = pulled;
  const { platform, config, diffIds, created } = resolved.config;
  const tag = tagReference(reference);
  const layers = diffIds.map((diffId, position) => ({ diffId, chainId: chainIds[position] ?? diffId }));
  return {
    version: 1,
    id: resolved.id,
    repoTags: tag === undefined ? [] : [tag],
    repoDigests: [digestReference(reference, resolved.target)],
    sizeBytes: sizeOf(deps, layers, resolved),
    config,
    layers,
    os: platform.os,
    architecture: platform.architecture,
    variant: platform.variant,
    created,
    pulledAtMs: Date.now(),
    blobs: [...new Set(resolved.documents.map(({ digest }) => digest))],
  };
}

function sizeOf(
  deps: Images,
  layers: readonly { readonly chainId: ChainId }[],
  resolved: ResolvedImage,
): number {
  let sizeBytes = 0;
  for (const { chainId } of layers) sizeBytes += deps.layers.get(chainId)?.bytes ?? 0;
  for (const { bytes } of resolved.documents) sizeBytes += bytes.length;
  return sizeBytes;
}

/** Two users with different credentials do not share a flight: each must be let in by the registry himself. */
function flightKey(reference: ImageReference, platform: Platform, auth: RegistryAuth | undefined): string {
  const secret = createHash('sha256')
    .update(JSON.stringify(auth ?? {}))
    .digest('hex');
  return `${canonicalString(reference)} ${platformText(platform)} ${secret}`;
}
