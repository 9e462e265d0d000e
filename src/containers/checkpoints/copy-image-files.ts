import { closeSync, createReadStream, createWriteStream, fstatSync, openSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { EngineError } from '../../lib/errors.ts';
import { openBeneath, pathDirectory, readDirectory, readFile } from '../../linux/at.ts';
import { archiveFiles } from './archive-files.ts';
import { defaultArchiveLimits } from './archive-parts.ts';

const chunkBytes = 1024 ** 2;

export interface CopyImageFilesRequest {
  /** The unpacked layers of an image that was made of a checkpoint archive, top first. */
  readonly layers: readonly string[];
  /** An empty directory of our own. */
  readonly directory: string;
  readonly maxBytes?: number;
  readonly maxEntries?: number;
}

/**
 * Copies the parts of a checkpoint that a restore needs, as `readArchive` unpacks them. What is no plain file, or is reached through
 * a symlink, is as if it were not there.
 * @throws EngineError invalid-argument if there are too many, or all together is too large; the signal's reason
 */
export async function copyImageFiles(
  { layers, directory, ...limits }: CopyImageFilesRequest,
  signal: AbortSignal,
): Promise<void> {
  const { maxBytes, maxEntries } = { ...defaultArchiveLimits, ...limits };
  await mkdir(join(directory, archiveFiles.images), { mode: 0o700 });
  const taken = new Set<string>();
  let bytes = 0;
  // Top first: the upper layer's file counts.
  for (const layer of layers) {
    using fds = new DisposableStack();
    const root = fds.adopt(openSync(layer, pathDirectory), closeSync);
    for (const name of await partsIn(root)) {
      signal.throwIfAborted();
      if (taken.has(name)) continue;
      const file = tryOpenFile(root, name);
      if (file === undefined) continue;
      taken.add(name);
      bytes += file.bytes;
      if (bytes > maxBytes || taken.size > maxEntries) {
        closeSync(file.fd);
        const tooMuch = bytes > maxBytes ? `${maxBytes} bytes` : `${maxEntries} files`;
        throw new EngineError('invalid-argument', `it has more than ${tooMuch}`);
      }
      await copy(file.fd, join(directory, name), signal);
    }
  }
}

/** Closes `fd`. */
async function copy(fd: number, target: string, signal: AbortSignal): Promise<void> {
  const source = createReadStream('', { fd, highWaterMark: chunkBytes });
  try {
    await pipeline(source, createWriteStream(target, { flags: 'wx', mode: 0o600 }), { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** The names of the parts that a layer may have, relative to it. */
async function partsIn(root: number): Promise<string[]> {
  const { config, deletedFiles, rootChanges, images } = archiveFiles;
  const alone = [config, deletedFiles, rootChanges];
  const listed = tryOpen(root, images, readDirectory);
  if (listed === undefined) return alone;
  try {
    const names = await readdir(`/proc/self/fd/${listed}`);
    return [...alone, ...names.map((name) => `${images}/${name}`)];
  } finally {
    closeSync(listed);
  }
}

function tryOpenFile(
  root: number,
  name: string,
): { readonly fd: number; readonly bytes: number } | undefined {
  const fd = tryOpen(root, name, readFile);
  if (fd === undefined) return undefined;
  const status = fstatSync(fd);
  if (status.isFile()) return { fd, bytes: status.size };
  closeSync(fd);
  return undefined;
}

function tryOpen(root: number, name: string, flags: number): number | undefined {
  try {
    return openBeneath(root, name, flags);
  } catch {
    return undefined;
  }
}
