/** An unpacker on a directory of its own, for the tests of one file. */
import assert from 'node:assert/strict';
import { mkdtempSync, openSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { ChainId } from '../../../lib/ids.ts';
import { close, pathDirectory } from '../../../linux/at.ts';
import { Poller } from '../../../linux/poll.ts';
import type { LayerSource } from '../layer-types.ts';
import { LayerUnpacker } from '../layer-unpacker.ts';
import { diffIdOf } from './tar-build.ts';

export const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-layer-')));
export const snapshots = join(base, 'snapshots');
export const unpacker = new LayerUnpacker({ maxWorkers: 1, snapshotRoot: base });
const poller = new Poller();
const programs = { allowed: ['igzip', 'zstd'], poller } as const;
/** Uses programs for what it is sent, where they are installed. */
export const unpackerWithPrograms = new LayerUnpacker({ maxWorkers: 1, snapshotRoot: base, programs });
after(async () => {
  await unpacker[Symbol.asyncDispose]();
  await unpackerWithPrograms[Symbol.asyncDispose]();
  await poller[Symbol.asyncDispose]();
  rmSync(base, { recursive: true });
});

export const tarType = 'application/vnd.oci.image.layer.v1.tar';
export const signal = new AbortController().signal;

export async function* chunks(data: Buffer, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

interface Options {
  readonly mediaType?: string;
  readonly source?: LayerSource;
  readonly unpacker?: LayerUnpacker;
}

export async function unpack(tar: Buffer, options: Options = {}): Promise<string> {
  const diffId = diffIdOf(tar);
  await (options.unpacker ?? unpacker).unpack({
    source: options.source ?? chunks(tar),
    mediaType: options.mediaType ?? tarType,
    chainId: diffId as string as ChainId,
    parentChainIds: [],
    expectedDiffId: diffId,
    signal,
  });
  return join(snapshots, diffId.slice(7), 'fs');
}

export async function refuses(
  tar: Buffer,
  kind: string,
  message: RegExp,
  options: Options = {},
): Promise<void> {
  const before = readdirSync(snapshots);
  await assert.rejects(unpack(tar, options), (error: Error & { kind?: string }) => {
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    assert.ok(error.message.includes(diffIdOf(tar)), 'the layer is named');
    return true;
  });
  assert.deepEqual(readdirSync(snapshots), before, 'nothing is left');
}

export function onRoot<T>(root: string, work: (fd: number) => T): T {
  const fd = openSync(root, pathDirectory);
  try {
    return work(fd);
  } finally {
    close(fd);
  }
}
