/**
 * The image that is pulled by its digest. critest pins the digest of an upstream image, which nobody else can make, so a
 * critest for machines without a way there is built with that one constant replaced by `pinnedDigest`. Nothing of the
 * machine that builds it is in this image, so that the digest is the same everywhere.
 */
import { buildImage, buildLayer } from '../../../src/images/testing/build-image.ts';
import type { TestImage } from './image-set.ts';

export const pinnedDigest = 'sha256:14917a931a82097cf2f78027eb5308a64b7eaed5e33160829743f8ea9bc6ee45';

/** @throws Error when the image has another digest than the one that critest has been built with */
export async function digestImage(name: string): Promise<TestImage> {
  // Not compressed: that would depend on the version of zlib.
  const layer = await buildLayer([{ name: 'digest', content: 'pulled by digest\n' }], 'none');
  const platform = { os: 'linux', architecture: 'amd64' };
  const image = buildImage({ layers: [layer], config: { Cmd: ['/digest'] }, platform });
  if (image.manifest.digest !== pinnedDigest)
    throw new Error(`the image that is pulled by digest has ${image.manifest.digest}, not ${pinnedDigest}`);
  return { names: [name], image };
}
