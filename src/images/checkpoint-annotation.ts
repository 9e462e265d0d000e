/** Which images are checkpoints: their manifest, or their index, says so. */
import { z } from 'zod';
import type { Digest, ImageId } from '../lib/ids.ts';
import { parseUntrustedJson } from '../lib/untrusted-json.ts';
import type { Images } from './images.ts';

/** checkpointctl's, and CRI-O's before it. */
const names = ['org.criu.checkpoint.container.name', 'io.kubernetes.cri-o.annotations.checkpoint.name'];
const annotated = z.object({ annotations: z.record(z.string(), z.string()) });

/**
 * Tells whether an image holds a checkpoint of a container instead of a file system to run. Reads each of its documents from the
 * disk once: a digest says the same for ever, while an image may get another manifest.
 */
export function checkpointTest({
  store,
  content,
}: Pick<Images, 'store' | 'content'>): (id: ImageId) => Promise<boolean> {
  const known = new Map<Digest, boolean>();
  const says = async (digest: Digest): Promise<boolean> => {
    const remembered = known.get(digest);
    if (remembered !== undefined) return remembered;
    const bytes = await content.read(digest);
    if (bytes === undefined) return false;
    const isOne = hasName(bytes);
    known.set(digest, isOne);
    return isOne;
  };
  return async (id) => {
    for (const digest of store.blobsOf(id)) if (await says(digest)) return true;
    return false;
  };
}

function hasName(bytes: Buffer): boolean {
  try {
    const { annotations } = annotated.parse(parseUntrustedJson(bytes));
    return names.some((name) => Object.hasOwn(annotations, name));
  } catch {
    return false;
  }
}
