/** One layer from its tar to a committed directory; the whole of it on a worker thread. */
import { createHash } from 'node:crypto';
import { chmodSync, closeSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, errnoOf, type ErrorKind, messageOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { pathDirectory, syncfs } from '../../linux/at.ts';
import { LayerApplier } from './layer-applier.ts';
import type { UnpackJob } from './layer-jobs.ts';
import { layerDirectoryName, type LayerRecord, readLayerRecord, syncDirectory } from './layer-record.ts';
import { removeTree } from './remove-tree.ts';
import { TarReader } from './tar-reader.ts';
import { treeUsage } from './tree-usage.ts';

/**
 * Unpacks, verifies and commits. Whatever fails, nothing is left.
 *
 * Durability: all of the layer is on the disk (syncfs) before it gets its name, and the name is on the disk before
 * this returns. A layer that has a name is whole, also after a power loss.
 * @throws EngineError naming the layer: data-loss for bytes that are not what was promised, invalid-argument for a
 * layer that asks for what none may, resource-exhausted for a full disk, cancelled
 */
export async function unpackLayer(
  job: UnpackJob,
  tar: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<LayerRecord> {
  const ingest = join(job.snapshotsDirectory, job.ingestName);
  const state = { entryName: '' };
  try {
    mkdirSync(ingest, { mode: 0o700 });
    const applied = await applyTo(join(ingest, 'fs'), { job, tar, signal, state });
    state.entryName = '';
    signal.throwIfAborted();
    writeFileSync(join(ingest, 'layer.json'), JSON.stringify(applied), { mode: 0o600 });
    return commit(job, ingest, applied);
  } catch (error) {
    throw layerError(job, state.entryName, error);
  } finally {
    // After a commit nothing has this name any more.
    discard(job);
  }
}

interface Application {
  readonly job: UnpackJob;
  readonly tar: AsyncIterable<Buffer>;
  readonly signal: AbortSignal;
  readonly state: { entryName: string };
}

async function applyTo(root: string, application: Application): Promise<LayerRecord> {
  const { job, signal, state } = application;
  mkdirSync(root);
  chmodSync(root, 0o755);
  const algorithm = job.expectedDiffId.slice(0, job.expectedDiffId.indexOf(':'));
  const hash = createHash(algorithm);
  using applier = new LayerApplier(root);
  try {
    const reader = new TarReader(job.limits, applier);
    for await (const chunk of application.tar) {
      signal.throwIfAborted();
      hash.update(chunk);
      reader.write(chunk);
    }
    reader.end();
    applier.complete();
  } catch (error) {
    state.entryName = applier.currentName;
    throw error;
  }
  const diffId = `${algorithm}:${hash.digest('hex')}`;
  if (diffId !== job.expectedDiffId) {
    throw new EngineError('data-loss', `its tar has the digest ${diffId}`);
  }
  const usage = treeUsage(root);
  return {
    version: 1,
    diffId: job.expectedDiffId,
    chainId: job.chainId,
    sizeBytes: usage.bytes,
    inodes: usage.inodes,
    describesRoot: applier.describesRoot,
    isRootOpaque: applier.isRootOpaque,
    impliedDirectories: applier.implied,
  };
}

function commit(job: UnpackJob, ingest: string, record: LayerRecord): LayerRecord {
  const fd = openSync(ingest, 'r');
  try {
    syncfs(fd);
  } finally {
    closeSync(fd);
  }
  const final = join(job.snapshotsDirectory, layerDirectoryName(job.chainId));
  try {
    renameSync(ingest, final);
  } catch (error) {
    // Another pull was faster: the same chain id is the same content.
    const present = ['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')
      ? readLayerRecord(final)
      : undefined;
    if (present === undefined) throw error;
    return present;
  }
  syncDirectory(job.snapshotsDirectory);
  return record;
}

function discard(job: UnpackJob): void {
  const fd = openSync(job.snapshotsDirectory, pathDirectory);
  try {
    removeTree(fd, job.ingestName);
  } finally {
    closeSync(fd);
  }
}

/** What the kernel refuses because of what the layer asks for. */
const layerFaults = new Set(['ENAMETOOLONG', 'ENOTDIR', 'ELOOP', 'EMLINK', 'EFBIG', 'EINVAL', 'EPERM']);

function layerError(job: UnpackJob, entryName: string, error: unknown): EngineError {
  const isNamed = error instanceof EngineError || entryName === '';
  const about = isNamed ? '' : `entry ${quote(entryName)}: `;
  const message = `unpack the layer ${job.expectedDiffId}: ${about}${messageOf(error)}`;
  return new EngineError(kindOf(error), message, { cause: error });
}

function kindOf(error: unknown): ErrorKind {
  if (!(error instanceof EngineError) && layerFaults.has(errnoOf(error) ?? '')) return 'invalid-argument';
  return EngineError.from(error).kind;
}
