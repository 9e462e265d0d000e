/** From the `image` of a request to the parts of a checkpoint in a directory of ours. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, copyFileSync, fstatSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { openBeneath, pathDirectory, readDirectory } from '../../linux/at.ts';
import { O_CLOEXEC } from '../../linux/libc.ts';
import { readFileInRoot } from '../../linux/read-in-root.ts';
import type { ContainerDeps, ContainerImageFacts } from '../deps.ts';
import { archiveFiles } from './archive-files.ts';
import { defaultArchiveLimits, readArchive } from './read-archive.ts';
import { readingDirectory } from './work-directory.ts';

/** A checkpoint whose parts lie in `directory`: see `readArchive`. */
export interface CheckpointSource extends AsyncDisposable {
  readonly directory: string;
  /** The path or image that the request named. */
  readonly from: string;
  /** The image that the container was made of when it was saved. */
  readonly image: ContainerImageFacts;
}

const openFile = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | O_CLOEXEC;

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
  mkdirSync(directory, { mode: 0o700 });
  await read(deps, { reference, directory }, signal);
  const image = baseImage(deps, directory);
  const owned = undo.move();
  return { directory, from: reference, image, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

async function read(
  deps: ContainerDeps,
  { reference, directory }: { readonly reference: string; readonly directory: string },
  signal: AbortSignal,
): Promise<void> {
  if (!reference.startsWith('/')) {
    copyFromImage(deps, reference, directory);
    return;
  }
  const fd = openArchive(deps.checkpoints.sources.directories, reference);
  try {
    await readArchive({ fd, directory }, signal);
  } catch (error) {
    throw new EngineError(
      EngineError.from(error).kind,
      `checkpoint archive ${quote(reference)}: ${messageOf(error)}`,
      { cause: error },
    );
  } finally {
    closeSync(fd);
  }
}

/** Resolved below one of the configured folders: no `..` and no symlink leads out of it. */
function openArchive(directories: readonly string[], path: string): number {
  const folder = directories.find((one) => !relative(one, path).startsWith('..'));
  if (folder === undefined)
    throw new EngineError(
      'permission-denied',
      `image ${quote(path)} lies in none of checkpoints.restore_directories`,
    );
  let root: number | undefined;
  try {
    root = openSync(folder, pathDirectory);
    return openBeneath(root, relative(folder, path), openFile);
  } catch (error) {
    const code = errnoOf(error) ?? '';
    // A symlink that leads out of the folder, or is the archive itself.
    const isLink = code === 'ELOOP' || code === 'EXDEV';
    const kind =
      code === 'ENOENT' ? 'not-found' : isLink ? 'permission-denied' : EngineError.from(error).kind;
    throw new EngineError(
      kind,
      `checkpoint archive ${quote(path)}: ${errnoOf(error) ?? 'cannot be opened'}`,
      {
        cause: error,
      },
    );
  } finally {
    if (root !== undefined) closeSync(root);
  }
}

/** The files of an image that was made of an archive; what is no plain file is as if it were not there. */
function copyFromImage(deps: ContainerDeps, reference: string, directory: string): void {
  const image = deps.images.resolve(reference);
  if (image === undefined)
    throw new EngineError('not-found', `image ${quote(reference)} is not on this node`);
  const images = join(directory, archiveFiles.images);
  mkdirSync(images, { mode: 0o700 });
  let bytes = 0;
  // Top first: the upper layer's file counts.
  for (const layer of deps.checkpoints.layers.directoriesOf(image.id)) {
    using fds = new DisposableStack();
    const hold = (fd: number): number => fds.adopt(fd, closeSync);
    const root = hold(openSync(layer, pathDirectory));
    const take = (name: string, target: string): void => {
      const fd = tryOpen(root, name, openFile);
      if (fd === undefined) return;
      hold(fd);
      const status = fstatSync(fd);
      if (!status.isFile()) return;
      bytes += status.size;
      if (bytes > defaultArchiveLimits.maxBytes)
        throw new EngineError('invalid-argument', `checkpoint image ${quote(reference)} is too large`);
      copyNew(fd, target);
    };
    for (const name of [archiveFiles.config, archiveFiles.deletedFiles, archiveFiles.rootChanges])
      take(name, join(directory, name));
    const listed = tryOpen(root, archiveFiles.images, readDirectory);
    if (listed === undefined) continue;
    for (const name of readdirSync(`/proc/self/fd/${hold(listed)}`))
      take(`${archiveFiles.images}/${name}`, join(images, name));
  }
}

function copyNew(fd: number, target: string): void {
  try {
    copyFileSync(`/proc/self/fd/${fd}`, target, constants.COPYFILE_EXCL);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

function tryOpen(root: number, name: string, flags: number): number | undefined {
  try {
    return openBeneath(root, name, flags);
  } catch {
    return undefined;
  }
}

const text = z.string().max(1024).optional();
const configSchema = z.object({ rootfsImageRef: text, rootfsImageName: text, rootfsImage: text });

/** Only what is on this node already: an archive does not make it fetch anything, nor gives images names. */
function baseImage(deps: ContainerDeps, directory: string): ContainerImageFacts {
  const config = readDescription(directory, archiveFiles.config, configSchema);
  const { rootfsImageRef, rootfsImageName, rootfsImage } = config;
  const names = [rootfsImageRef, rootfsImageName, rootfsImage].filter(
    (name) => name !== undefined && name !== '',
  );
  for (const name of names) {
    const image = tryResolve(deps, name ?? '');
    if (image !== undefined) return image;
  }
  throw new EngineError(
    'not-found',
    `the image ${quote(names.at(-1) ?? '')} that the checkpoint was made of is not on this node: pull it first`,
  );
}

function tryResolve(deps: ContainerDeps, name: string): ContainerImageFacts | undefined {
  try {
    return deps.images.resolve(name);
  } catch {
    return undefined;
  }
}

/** One of the JSON files of an archive. @throws EngineError invalid-argument if it is missing or not what it should be */
export function readDescription<T>(directory: string, name: string, schema: z.ZodType<T>): T {
  const bytes = readFileInRoot(directory, name, defaultArchiveLimits.maxDescriptionBytes);
  if (bytes === undefined) throw new EngineError('invalid-argument', `the checkpoint has no ${name}`);
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw new EngineError('invalid-argument', `the checkpoint’s ${name} is not what it should be`, {
      cause: error,
    });
  }
}
