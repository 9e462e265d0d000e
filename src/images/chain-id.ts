/** Layer ChainIDs: a layer's name together with everything below it (OCI image-spec, "Layer ChainID"). */
import type { ChainId, DiffId } from '../lib/ids.ts';
import { digestOf } from './digest.ts';

/** The chain ids of a stack of layers, bottom first. */
export function chainIdsOf(diffIds: readonly DiffId[]): readonly ChainId[] {
  const chain: ChainId[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : combine(below, diffId));
  }
  return chain;
}

function combine(below: ChainId, diffId: DiffId): ChainId {
  return digestOf(Buffer.from(`${below} ${diffId}`), 'sha256');
}
