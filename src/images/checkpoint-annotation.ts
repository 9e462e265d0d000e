/** Which images are checkpoints: their manifest, or their index, says so. */
import { z } from 'zod';
import type { ImageId } from '../lib/ids.ts';
import type { Images } from './images.ts';

/** checkpointctl's, and CRI-O's before it. */
const names = ['org.criu.checkpoint.container.name', 'io.kubernetes.cri-o.annotations.checkpoint.name'];
const annotated = z.object({ annotations: z.record(z.string(), z.string()) });

/** Whether the image holds a checkpoint of a container instead of a file system to run. Reads its documents from the disk. */
export async function isCheckpointImage(
  { store, content }: Pick<Images, 'store' | 'content'>,
  id: ImageId,
): Promise<boolean> {
  for (const digest of store.blobsOf(id)) {
    const bytes = await content.read(digest);
    if (bytes !== undefined && hasName(bytes)) return true;
  }
  return false;
}

function hasName(bytes: Buffer): boolean {
  try {
    const { annotations } = annotated.parse(JSON.parse(bytes.toString('utf8')));
    return names.some((name) => Object.hasOwn(annotations, name));
  } catch {
    return false;
  }
}
