import { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { ContainerDeps, ContainerImageFacts } from '../deps.ts';
import { archiveFiles } from './archive-files.ts';
import { readDescription } from './read-description.ts';

const text = z.string().max(1024).optional();
const configSchema = z.object({ rootfsImageRef: text, rootfsImageName: text, rootfsImage: text });

type Images = Pick<ContainerDeps['images'], 'resolve'>;

/**
 * The image that a checkpoint was made of, by what its files in `directory` say. Only what is on this node already: an archive does
 * not make it fetch anything, nor gives images names.
 * @throws EngineError not-found naming the image, invalid-argument for files that do not say it
 */
export function baseImage(images: Images, directory: string): ContainerImageFacts {
  const config = readDescription(directory, archiveFiles.config, configSchema);
  const { rootfsImageRef, rootfsImageName, rootfsImage } = config;
  const names = [rootfsImageRef, rootfsImageName, rootfsImage].filter(isGiven);
  const last = names.at(-1);
  if (last === undefined)
    throw new EngineError(
      'invalid-argument',
      `the checkpoint’s ${archiveFiles.config} does not say its image`,
    );
  for (const name of names) {
    const image = tryResolve(images, name);
    if (image !== undefined) return image;
  }
  throw new EngineError(
    'not-found',
    `the image ${quote(last)} that the checkpoint was made of is not on this node: pull it first`,
  );
}

function isGiven(name: string | undefined): name is string {
  return name !== undefined && name !== '';
}

function tryResolve(images: Images, name: string): ContainerImageFacts | undefined {
  try {
    return images.resolve(name);
  } catch {
    return undefined;
  }
}
