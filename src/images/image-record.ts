/** An image as it is stored, and as the rest of the engine sees it. */
import type { ChainId, DiffId, Digest, ImageId } from '../lib/ids.ts';
import type { ImageConfig } from './image-config.ts';

interface ImageLayer {
  readonly diffId: DiffId;
  readonly chainId: ChainId;
}

/** One image on this node, whatever registries it came from. */
export interface Image {
  readonly id: ImageId;
  /** `docker.io/library/busybox:latest`; empty when every tag has moved to another image. */
  readonly repoTags: readonly string[];
  /** `docker.io/library/busybox@sha256:...`, of the manifest or index that was pulled. */
  readonly repoDigests: readonly string[];
  /** On this node's disk: unpacked layers, manifests and config. Layers that images share count in each. */
  readonly sizeBytes: number;
  /** Exempt from image garbage collection by configuration. */
  readonly pinned: boolean;
  readonly config: ImageConfig;
  /** Bottom first. */
  readonly layers: readonly ImageLayer[];
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
  /** RFC 3339, as its builder wrote it. */
  readonly created: string | undefined;
  readonly pulledAtMs: number;
}

/** What the database holds. */
export interface ImageRecord extends Omit<Image, 'pinned'> {
  readonly version: 1;
  /** The index, manifest and config in the content store that this image keeps. */
  readonly blobs: readonly Digest[];
}
