/** RemoveImage. */
import { collectGarbage } from './garbage-collection.ts';
import type { Image } from './image-record.ts';
import type { Images } from './images.ts';
import { resolveImage } from './store.ts';

/**
 * Removes the image that `reference` (any form) points at, with all its tags, and what it alone needed on disk.
 * Containers keep the layers they stand on. Idempotent: undefined when there is no such image.
 * @throws EngineError invalid-argument for an ambiguous id prefix
 */
export async function removeImage(deps: Images, reference: string): Promise<Image | undefined> {
  const image = resolveImage(deps.store, reference);
  if (image === undefined) return undefined;
  deps.store.remove(image.id);
  await collectGarbage(deps);
  return image;
}
