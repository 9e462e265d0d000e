/** Test images under the names that foreign suites ask for, and a registry's storage that holds them. */
import {
  buildImage,
  type BuiltImage,
  type BuiltLayer,
  type FixtureConfig,
  pushImage,
} from '../../../src/images/testing/build-image.ts';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { searchPath } from './busybox.ts';

/** One image and all its names. */
export interface TestImage {
  /** `registry.k8s.io/e2e-test-images/busybox:1.29-2`, pushed without the registry's name: mirrors stand in for it. */
  readonly names: readonly string[];
  readonly image: BuiltImage;
}

/** An image of these layers, bottom first; its environment has the usual search path. */
export function testImage(
  names: readonly string[],
  layers: readonly BuiltLayer[],
  config: FixtureConfig = {},
): TestImage {
  return { names, image: buildImage({ layers, config: { Env: [searchPath], ...config } }) };
}

const namePattern = /^[^/]+\/(?<repository>.+):(?<tag>[^:/]+)$/;

/** Pushes what the registry at `registryUrl` (`http://127.0.0.1:5000`) lacks or has otherwise. */
async function pushImages(registryUrl: string, images: readonly TestImage[]): Promise<void> {
  for (const { names, image } of images) {
    for (const name of names) {
      const { repository, tag } = namePattern.exec(name)?.groups ?? {};
      if (repository === undefined || tag === undefined) throw new Error(`${name} is not REGISTRY/NAME:TAG`);
      const known = await fetch(`${registryUrl}/v2/${repository}/manifests/${tag}`, {
        method: 'HEAD',
        headers: { accept: image.manifest.mediaType },
      });
      if (known.headers.get('docker-content-digest') === image.manifest.digest) continue;
      await pushImage({ registryUrl, repository, tag }, image);
    }
  }
}

/**
 * Brings a registry's storage below `directory` up to date, by a registry that runs as long as that takes. Afterwards
 * `startDockerRegistry({ storage: directory })` serves it, also where nothing can be written.
 */
export async function fillStorage(directory: string, images: readonly TestImage[]): Promise<void> {
  await using registry = await startDockerRegistry({ storage: directory, writable: true });
  await pushImages(registry.url, images);
}
