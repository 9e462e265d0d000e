/** `layer.json` beside an unpacked layer: what it takes on disk, and what has to be known when it is mounted. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import { parseDigest, type ChainId, type DiffId } from '../../lib/ids.ts';

export interface LayerRecord {
  readonly version: 1;
  readonly diffId: DiffId;
  readonly chainId: ChainId;
  readonly sizeBytes: number;
  readonly inodes: number;
  /** The layer has an entry for its root directory. */
  readonly describesRoot: boolean;
  /** The layer hides all below it. */
  readonly isRootOpaque: boolean;
  /**
   * Directories that the layer holds only because something lies in them, parents first, one character a byte.
   * Emptied when they have been made to look as the layers below say.
   */
  readonly impliedDirectories: readonly string[];
}

/** Where a layer is kept, below the directory of all snapshots. */
export function layerDirectoryName(chainId: ChainId): string {
  return chainId.slice(chainId.indexOf(':') + 1);
}

/** @returns undefined if the layer is not there @throws EngineError data-loss if its record cannot be read */
export function readLayerRecord(layerDirectory: string): LayerRecord | undefined {
  const path = join(layerDirectory, 'layer.json');
  try {
    return checkRecord(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new EngineError('data-loss', `read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Replaces the record as a whole. Durable when it returns. */
export function writeLayerRecord(layerDirectory: string, record: LayerRecord): void {
  const path = join(layerDirectory, 'layer.json');
  writeFileSync(`${path}.new`, JSON.stringify(record), { flush: true, mode: 0o600 });
  renameSync(`${path}.new`, path);
  syncDirectory(layerDirectory);
}

/** Makes the names in a directory durable. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function checkRecord(value: unknown): LayerRecord {
  const record = value as Partial<LayerRecord> | null;
  if (record?.version !== 1) throw new Error('a record of another version');
  parseDigest(String(record.diffId));
  parseDigest(String(record.chainId));
  if (!Number.isSafeInteger(record.sizeBytes) || !Number.isSafeInteger(record.inodes))
    throw new Error('no sizes');
  if (!Array.isArray(record.impliedDirectories)) throw new Error('no list of implied directories');
  return record as LayerRecord;
}
