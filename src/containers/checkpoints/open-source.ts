/** From the `image` of a request to the parts of a checkpoint in a directory of ours. */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { ContainerDeps, ContainerImageFacts } from '../deps.ts';
import { baseImage } from './base-image.ts';
import { copyImageFiles } from './copy-image-files.ts';
import { openArchive } from './open-archive.ts';
import { readArchive } from './read-archive.ts';
import { readingDirectory } from './work-directory.ts';

/** A checkpoint whose parts lie in `directory`: see `readArchive`. */
export interface CheckpointSource extends AsyncDisposable {
  readonly directory: string;
  /** The path or image that the request named. */
  readonly from: string;
  /** The image that the container was made of when it was saved. */
  readonly image: ContainerImageFacts;
}

/**
 * Whether a request is for a checkpoint, as far as this node restores any: by the path of an archive, or by an image that says so.
 * @throws EngineError failed-precondition for a path where restoring from archives is off, invalid-argument for an ambiguous id
 */
export async function isCheckpoint(deps: ContainerDeps, reference: string): Promise<boolean> {
  const { directories, images } = deps.checkpoints.sources;
  if (reference.startsWith('/')) {
    if (directories.length > 0) return true;
    throw new EngineError(
      'failed-precondition',
      `image ${quote(reference)}: this node restores no containers from archives (checkpoints.restore_directories)`,
    );
  }
  if (!images) return false;
  const image = deps.images.resolve(reference);
  return image !== undefined && (await deps.checkpoints.layers.isCheckpoint(image.id));
}

/** Reads it into a new directory, which is gone once it is disposed, unless it was moved. @throws EngineError saying what is wrong with it */
export async function openSource(
  deps: ContainerDeps,
  reference: string,
  signal: AbortSignal,
): Promise<CheckpointSource> {
  const directory = readingDirectory(deps.checkpoints.directory, randomBytes(12).toString('hex'));
  await using undo = new AsyncDisposableStack();
  // Layers that were made of it, unless a container stands upon them.
  undo.defer(async () => await deps.checkpoints.layers.collect());
  undo.defer(async () => await rm(directory, { recursive: true, force: true }));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (reference.startsWith('/')) await fromArchive(deps, { path: reference, directory }, signal);
  else await fromImage(deps, { reference, directory }, signal);
  const image = baseImage(deps.images, directory);
  const owned = undo.move();
  return { directory, from: reference, image, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

async function fromArchive(
  deps: ContainerDeps,
  { path, directory }: { readonly path: string; readonly directory: string },
  signal: AbortSignal,
): Promise<void> {
  const fd = openArchive(deps.checkpoints.sources.directories, path);
  try {
    await naming(`checkpoint archive ${quote(path)}`, readArchive({ fd, directory }, signal));
  } finally {
    closeSync(fd);
  }
}

async function fromImage(
  deps: ContainerDeps,
  { reference, directory }: { readonly reference: string; readonly directory: string },
  signal: AbortSignal,
): Promise<void> {
  const image = deps.images.resolve(reference);
  if (image === undefined)
    throw new EngineError('not-found', `image ${quote(reference)} is not on this node`);
  const layers = deps.checkpoints.layers.directoriesOf(image.id);
  await naming(`checkpoint image ${quote(reference)}`, copyImageFiles({ layers, directory }, signal));
}

/** What goes wrong while a checkpoint is read is said of it. */
async function naming(what: string, reading: Promise<void>): Promise<void> {
  try {
    await reading;
  } catch (error) {
    throw new EngineError(EngineError.from(error).kind, `${what}: ${messageOf(error)}`, { cause: error });
  }
}
