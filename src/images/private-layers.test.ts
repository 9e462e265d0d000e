import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { isKind } from '../lib/errors.ts';
import { type ChainId, parseDigest } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import { LayerIndex } from './layer-index.ts';
import type { UnpackRequest } from './layers/layer-types.ts';
import { LayerUnpacker } from './layers/layer-unpacker.ts';
import { archive, diffIdOf, entry } from './layers/testing/tar-build.ts';
import { Leases } from './leases.ts';
import { addPrivateLayer } from './private-layers.ts';

const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-private-')));
const unpacker = new LayerUnpacker({ maxWorkers: 1, snapshotRoot: base });
after(async () => {
  await unpacker[Symbol.asyncDispose]();
  rmSync(base, { recursive: true });
});
const never = new AbortController().signal;
const diffId = parseDigest(`sha256:${'b'.repeat(64)}`);
const below = [{ diffId, chainId: diffId as string as ChainId }];

/** As the daemon makes it. What is unpacked is protected from collections all the while, or these tests fail. */
function images() {
  const requests: UnpackRequest[] = [];
  const leases = new Leases();
  const unpack = async (request: UnpackRequest) => {
    requests.push(request);
    assert.ok(leases.has(request.chainId), 'a collection now would take it away');
    const unpacked = await unpacker.unpack(request);
    assert.ok(leases.has(request.chainId));
    return unpacked;
  };
  const layers = new LayerIndex({ list: () => [], unpack, collect: () => [] });
  return { layers, layerLocks: new KeyedLock<ChainId>(), leases, requests };
}

type Added = ReturnType<typeof addPrivateLayer>;

async function add(given: ReturnType<typeof images>, path: string, upon = below, signal = never): Added {
  using lease = given.leases.open();
  return await addPrivateLayer(given, { below: upon, path, lease }, signal);
}

let count = 0;
function file(bytes: Buffer): string {
  count += 1;
  const path = join(base, `tar-${count}`);
  writeFileSync(path, bytes);
  return path;
}

const directoryOf = (chainId: ChainId): string => join(base, 'snapshots', chainId.slice('sha256:'.length));

test('a tar becomes a layer upon the others, under the chain id of the whole', async () => {
  const tar = archive(entry({ name: 'written' }, 'by the container'));
  const added = await add(images(), file(tar));
  assert.equal(added.diffId, diffIdOf(tar));
  // https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-chainid
  assert.equal(added.chainId, diffIdOf(Buffer.from(`${diffId} ${added.diffId}`)));
  assert.equal(readFileSync(join(directoryOf(added.chainId), 'fs/written'), 'utf8'), 'by the container');
});

test('upon nothing it is its own chain', async () => {
  const tar = archive(entry({ name: 'alone' }, 'x'));
  const added = await add(images(), file(tar), []);
  assert.equal(added.chainId as string, added.diffId as string);
});

test('however it is compressed it is the same layer', async () => {
  const tar = archive(entry({ name: 'a' }, Buffer.alloc(100_000, 'abc')));
  const chains = new Set<string>();
  for (const bytes of [tar, gzipSync(tar), zstdCompressSync(tar)])
    chains.add((await add(images(), file(bytes))).chainId);
  assert.equal(chains.size, 1);
});

test('two containers of one checkpoint, at once: no unpack gets into the way of the other', async () => {
  const path = file(archive(entry({ name: 'shared' }, 'x')));
  const shared = images();
  const both = [1, 2].map(async () => await add(shared, path));
  const [one, other] = await Promise.all(both);
  assert.deepEqual(one, other);
  assert.equal(shared.layers.list().length, 1);
});

test('no collection takes it before its lease ends: the snapshot upon it is not made yet', async () => {
  const given = images();
  const path = file(archive(entry({ name: 'leased' }, 'x')));
  const lease = given.leases.open();
  const { chainId } = await addPrivateLayer(given, { below, path, lease }, never);
  assert.ok(given.leases.has(chainId));
  lease[Symbol.dispose]();
  assert.ok(!given.leases.has(chainId));
});

for (const [what, bytes] of [
  ['cut off', archive(entry({ name: 'a' }, 'x'.repeat(5000))).subarray(0, 1500)],
  ['cut off in the middle of its compression', gzipSync(Buffer.alloc(100_000, 'x')).subarray(0, 60)],
  ['no tar', Buffer.from('x'.repeat(2000))],
] as const)
  test(`an archive that is ${what} is refused and leaves nothing`, async () => {
    mkdirSync(join(base, 'snapshots'), { recursive: true });
    const before = readdirSync(join(base, 'snapshots'));
    const given = images();
    await assert.rejects(add(given, file(bytes)), (error) => isKind(error, 'data-loss'));
    assert.deepEqual(readdirSync(join(base, 'snapshots')), before);
    assert.deepEqual(given.layers.list(), []);
  });

test('a file that is not there, and a request that has ended', async () => {
  await assert.rejects(add(images(), join(base, 'absent')), /ENOENT/);
  const given = images();
  const gone = AbortSignal.abort(new Error('the client has gone'));
  const path = file(archive(entry({ name: 'late' }, 'x')));
  await assert.rejects(add(given, path, below, gone));
  assert.deepEqual(given.requests, []);
});
