/** Layers that belong to one container: what a checkpoint brought beyond its image. They go with the container's snapshot. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { EngineError } from '../lib/errors.ts';
import { type ChainId, type DiffId, parseDigest } from '../lib/ids.ts';
import { chainIdsOf } from './chain-id.ts';
import type { Images } from './images.ts';
import type { Lease } from './leases.ts';
import { decompress, mediaTypeOfTar } from './layers/decompress.ts';

/**
 * Unpacks a tar as a layer upon others. It stays as long as the lease, or a snapshot upon it.
 * @returns the chain id of the whole
 * @throws EngineError as unpacking a layer of an image does
 */
export async function addPrivateLayer(
  images: Pick<Images, 'layers' | 'layerLocks'>,
  args: {
    readonly below: readonly { readonly diffId: DiffId; readonly chainId: ChainId }[];
    readonly path: string;
    readonly lease: Lease;
  },
  signal: AbortSignal,
): Promise<{ readonly diffId: DiffId; readonly chainId: ChainId }> {
  const { below, path, lease } = args;
  const mediaType = await mediaTypeOf(path);
  const hash = createHash('sha256');
  for await (const chunk of decompress(createReadStream(path, { signal }), mediaType)) hash.update(chunk);
  const diffId: DiffId = parseDigest(`sha256:${hash.digest('hex')}`);
  const chainId = chainIdsOf([...below.map((layer) => layer.diffId), diffId]).at(-1);
  if (chainId === undefined) throw new EngineError('internal', `layer ${path}: it has no chain`);
  // A collection may run at any moment, also right after the unpacking.
  lease.add(chainId);
  await images.layerLocks.run(chainId, signal, async () => {
    await images.layers.unpack({
      source: { path },
      mediaType,
      chainId,
      parentChainIds: below.map((layer) => layer.chainId),
      expectedDiffId: diffId,
      signal,
    });
  });
  return { diffId, chainId };
}

async function mediaTypeOf(path: string): Promise<string> {
  const head = Buffer.alloc(4);
  await using file = await open(path);
  await file.read(head, 0, 4, 0);
  return mediaTypeOfTar(head);
}
