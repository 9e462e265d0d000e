/** The second half of a pull: the layers that are missing, several at once, unpacked while they arrive. */
import { isKind } from '../lib/errors.ts';
import type { ChainId, DiffId, Digest } from '../lib/ids.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { letHeapGrow } from '../lib/small-heap.ts';
import { phase, phaseOfStream } from '../telemetry/traces/phase.ts';
import type { Images } from './images.ts';
import type { Descriptor } from './manifest.ts';
import { downloadBlob } from './registry/blob.ts';
import type { Repository } from './registry/client.ts';

/** Of a digest in the name of a phase, with the name of its hash. */
const shownDigestLength = 'sha256:'.length + 12;

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
  // Every byte passes a buffer of this thread.
  using _room = letHeapGrow();
  const failure = new AbortController();
  const either = AbortSignal.any([signal, failure.signal]);
  const turn = new Semaphore(deps.maxDownloadsPerPull);
  const begun: Begun[] = [];
  let first: { readonly error: unknown } | undefined;
  const work = oneByOne(args, turn).map(async (layer) => {
    try {
      await joinOrPull(deps, { layer, begun }, either);
    } catch (error) {
      first ??= { error };
      failure.abort(error);
    }
  });
  await Promise.all(work);
  // Leaving a flight does not wait for it: what nobody waits for any more is being undone, and is ours to see gone.
  await Promise.allSettled(begun.filter(({ signal: own }) => own.aborted).map(({ end }) => end));
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

/** Work on a layer that this pull began, for itself and for others that may have joined. */
interface Begun {
  readonly signal: AbortSignal;
  readonly end: Promise<void>;
}

/**
 * Shares the work on a layer with other pulls. What another pull started runs with that one's hosts and credentials:
 * when it fails, that says nothing about ours, which are then tried.
 */
async function joinOrPull(
  deps: LayerDeps,
  { layer, begun }: { readonly layer: OneLayer; readonly begun: Begun[] },
  signal: AbortSignal,
): Promise<void> {
  let isOurs = false;
  const pull = async (flightSignal: AbortSignal): Promise<void> => {
    isOurs = true;
    const end = ensureLayer(deps, layer, flightSignal);
    begun.push({ signal: flightSignal, end });
    await end;
  };
  for (;;) {
    try {
      const what = deps.unpacks.isUnderWay(layer.chainId) ? 'wait for layer' : 'layer';
      const name = `${what} ${layer.descriptor.digest.slice(0, shownDigestLength)}`;
      await phase(name, () => deps.unpacks.do(layer.chainId, signal, pull));
      return;
    } catch (error) {
      if (isOurs || signal.aborted) throw error;
    }
  }
}

async function ensureLayer(deps: LayerDeps, layer: OneLayer, signal: AbortSignal): Promise<void> {
  // Under the lock: a flight that was given up may still be clearing away what it had.
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
    using _turn = await phase('wait for a turn', () => layer.turn.acquire(signal));
    using _download = await phase('wait for other downloads', () => deps.downloads.acquire(signal));
    await unpackFromHosts(deps, layer, signal);
  });
}

/** A mirror that sends other bytes than it should is passed over, as one that sends none is. */
async function unpackFromHosts(deps: LayerDeps, layer: OneLayer, signal: AbortSignal): Promise<void> {
  const hosts = layer.repository.hosts.filter((host) => host.canPull);
  for (let first = 0; ; first += 1) {
    try {
      const repository = { ...layer.repository, hosts: hosts.slice(first) };
      await unpackLayer(deps, { ...layer, repository }, signal);
      return;
    } catch (error) {
      if (!isKind(error, 'data-loss') || first + 1 >= hosts.length) throw error;
    }
  }
}

async function unpackLayer(deps: LayerDeps, layer: OneLayer, signal: AbortSignal): Promise<void> {
  const { descriptor, chainId, onProgress } = layer;
  const progress = { digest: descriptor.digest, sizeBytes: descriptor.sizeBytes };
  let receivedBytes = 0;
  const blob = downloadBlob(layer.repository, {
    descriptor,
    what: layer.what,
    onBytes: (count) => {
      receivedBytes += count;
      onProgress?.({ ...progress, state: 'downloading', receivedBytes });
    },
    signal,
  });
  await phase('unpack', () =>
    deps.layers.unpack({
      source: phaseOfStream('download', blob),
      mediaType: descriptor.mediaType,
      chainId,
      parentChainIds: layer.parentChainIds,
      expectedDiffId: layer.diffId,
      signal,
    }),
  );
  onProgress?.({ ...progress, state: 'complete', receivedBytes });
}
