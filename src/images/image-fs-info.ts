/** ImageFsInfo: what images take on disk, from sums that were recorded when layers were unpacked. Never a walk. */
import type { Images } from './images.ts';

export interface ImageFsInfo {
  /** A directory on the file system that holds the images. */
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly usedInodes: number;
  readonly timestampMs: number;
}

export function imageFsInfo(deps: Pick<Images, 'root' | 'layers' | 'content'>): ImageFsInfo {
  let { bytes: usedBytes, inodes: usedInodes } = deps.content.usage;
  for (const layer of deps.layers.list()) {
    usedBytes += layer.bytes;
    usedInodes += layer.inodes;
  }
  return { mountpoint: deps.root, usedBytes, usedInodes, timestampMs: Date.now() };
}
