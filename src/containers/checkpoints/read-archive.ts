/**
 * Reading a checkpoint archive: a tar that nobody vouches for. Only the names that are known are written, each once, into an empty
 * directory; anything but files and directories is refused, and so is what is larger than it may be.
 */
import { read, fstatSync } from 'node:fs';
import { promisify } from 'node:util';
import { EngineError } from '../../lib/errors.ts';
import { decompress, mediaTypeOfTar } from '../../images/layers/decompress.ts';
import { defaultLayerLimits } from '../../images/layers/layer-types.ts';
import { TarReader } from '../../images/layers/tar-reader.ts';
import { type ArchiveLimits, ArchiveParts, defaultArchiveLimits } from './archive-parts.ts';

export interface ReadArchiveRequest {
  /** An open file. */
  readonly fd: number;
  /** An empty directory of our own. */
  readonly directory: string;
  readonly limits?: Partial<ArchiveLimits>;
}

/**
 * Unpacks the parts of an archive that a restore needs: `config.dump`, `deleted.files`, `rootfs-diff.tar` and the files in
 * `checkpoint/`. Plain, gzip or zstd.
 * @throws EngineError invalid-argument or data-loss saying what is wrong with it, resource-exhausted; the signal's reason
 */
export async function readArchive(request: ReadArchiveRequest, signal: AbortSignal): Promise<void> {
  const { fd, directory } = request;
  const limits = { ...defaultArchiveLimits, ...request.limits };
  await using parts = await ArchiveParts.in(directory, limits);
  const { maxEntries } = limits;
  const reader = new TarReader({ ...defaultLayerLimits, maxEntries, maxNameBytes: 1024 }, parts);
  for await (const chunk of decompress(bytesOf(fd), await mediaTypeOf(fd))) {
    signal.throwIfAborted();
    reader.write(chunk);
    await parts.flush();
  }
  reader.end();
}

const chunkBytes = 1024 ** 2;
const readAt = promisify(read);

/** The whole file; the descriptor stays its owner's. */
async function* bytesOf(fd: number): AsyncGenerator<Uint8Array> {
  for (let position = 0; ;) {
    const { bytesRead, buffer } = await readAt(fd, Buffer.alloc(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function mediaTypeOf(fd: number): Promise<string> {
  const head = Buffer.alloc(4);
  if (!fstatSync(fd).isFile() || (await readAt(fd, head, 0, head.length, 0)).bytesRead < head.length)
    throw new EngineError('invalid-argument', 'it is not an archive');
  return mediaTypeOfTar(head);
}
