/** ListImages, and the verbose part of ImageStatus. */
import { parseUntrustedJson } from '../lib/untrusted-json.ts';
import { chainIdsOf } from './chain-id.ts';
import type { ContentStore } from './content-store.ts';
import type { Image } from './image-record.ts';
import { type ImageStore, resolveImage } from './store.ts';

/** All images, or the one that `filter` (any form of reference or id) points at. */
export function listImages(store: ImageStore, filter: string | undefined): readonly Image[] {
  if (filter === undefined || filter === '') return store.list();
  const image = resolveImage(store, filter);
  return image === undefined ? [] : [image];
}

/** What `crictl inspecti` shows beside the status. `imageSpec` is the config as the registry sent it. */
export interface ImageDetails {
  readonly chainID: string | undefined;
  readonly imageSpec: unknown;
}

/** @throws EngineError when the disk cannot be read, or holds what no pull takes any more */
export async function imageDetails(content: ContentStore, image: Image): Promise<ImageDetails> {
  const bytes = await content.read(image.id);
  const imageSpec: unknown = bytes === undefined ? undefined : parseUntrustedJson(bytes);
  return { chainID: chainIdsOf(image.layers.map((layer) => layer.diffId)).at(-1), imageSpec };
}
