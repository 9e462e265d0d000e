/** The second half of a pull: the layers that are missing, several at once, unpacked while they arrive. */
import type { ChainId, DiffId, Digest } from '../lib/ids.ts';
import { Semaphore } from '../lib/semaphore.ts';
import type { Images } from './images.ts';
import type { Descriptor } from './manifest.ts';
import { downloadBlob } from './registry/blob.ts';
import type { Repository } from './registry/client.ts';

export interface LayerProgress {
  readonly digest: Digest;
  /** `exists`: nothing to do. `complete`: unpacked and verified. */
  readonly state: 'exists' | 'downloading' | 'complete';
  readonly receivedBytes: number;
  readonly sizeBytes: number;
}

export interface LayersToPull {
  readonly repository: Repository;
  /** The image, for messages. */
  readonly name: string;
  /** These three: bottom first, of equal length. */
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly DiffId[];
  readonly chainIds: readonly ChainId[];
  readonly onProgress: ((progress: LayerProgress) => void) | undefined;
}

type LayerDeps = Pick<Images, 'layers' | 'unpacks' | 'layerLocks' | 'downloads' | 'maxDownloadsPerPull'>;

interface OneLayer {
  readonly repository: Repository;
  readonly what: string;
  readonly descriptor: Descriptor;
  readonly diffId: DiffId;
  readonly chainId: ChainId;
  readonly parentChainIds: readonly ChainId[];
  readonly turn: Semaphore;
  readonly onProgress: ((progress: LayerProgress) => void) | undefined;
}

/**
 * Returns when every layer is on disk. The caller holds a lease on their chain ids. The first failure ends the
 * others; all have ended when it is thrown.
 */
export async function pullLayers(deps: LayerDeps, args: LayersToPull, signal: AbortSignal): Promise<void> {
  const failure = new AbortController();
  const either = AbortSignal.any([signal, failure.signal]);
  const turn = new Semaphore(deps.maxDownloadsPerPull);
  let first: { readonly error: unknown } | undefined;
  const work = oneByOne(args, turn).map(async (layer) => {
    try {
      await deps.unpacks.do(layer.chainId, either, (flightSignal) => ensureLayer(deps, layer, flightSignal));
    } catch (error) {
      first ??= { error };
      failure.abort(error);
    }
  });
  await Promise.all(work);
  if (first !== undefined) throw first.error;
}

function oneByOne(args: LayersToPull, turn: Semaphore): OneLayer[] {
  const work: OneLayer[] = [];
  for (const [position, descriptor] of args.layers.entries()) {
    const diffId = args.diffIds[position];
    const chainId = args.chainIds[position];
    if (diffId === undefined || chainId === undefined) continue;
    work.push({
      repository: args.repository,
      what: `layer ${descriptor.digest} of ${args.name}`,
      descriptor,
      diffId,
      chainId,
      parentChainIds: args.chainIds.slice(0, position),
      turn,
      onProgress: args.onProgress,
    });
  }
  return work;
}

async function ensureLayer(deps: LayerDeps, layer: OneLayer, signal: AbortSignal): Promise<void> {
  // Under the lock: garbage collection may be removing this very layer, and a flight that was given up may still be
  // clearing away what it had.
  await deps.layerLocks.run(layer.chainId, signal, async () => {
    const { descriptor } = layer;
    if (deps.layers.get(layer.chainId) !== undefined) {
      layer.onProgress?.({
        digest: descriptor.digest,
        state: 'exists',
        receivedBytes: 0,
        sizeBytes: descriptor.sizeBytes,
      });
      return;
    }
    using _turn = await layer.turn.acquire(signal);
    using _download = await deps.downloads.acquire(signal);
    await unpackLayer(deps, layer, signal);
  });
}

async function unpackLayer(deps: LayerDeps, layer: OneLayer, signal: AbortSignal): Promise<void> {
  const { descriptor, chainId, onProgress } = layer;
  const progress = { digest: descriptor.digest, sizeBytes: descriptor.sizeBytes };
  let receivedBytes = 0;
  const source = downloadBlob(layer.repository, {
    descriptor,
    what: layer.what,
    onBytes: (count) => {
      receivedBytes += count;
      onProgress?.({ ...progress, state: 'downloading', receivedBytes });
    },
    signal,
  });
  await deps.layers.unpack({
    source,
    mediaType: descriptor.mediaType,
    chainId,
    parentChainIds: layer.parentChainIds,
    expectedDiffId: layer.diffId,
    signal,
  });
  onProgress?.({ ...progress, state: 'complete', receivedBytes });
}
