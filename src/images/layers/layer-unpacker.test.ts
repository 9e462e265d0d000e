import assert from 'node:assert/strict';
import { constants, existsSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ChainId } from '../../lib/ids.ts';
import { readLayerRecord } from './layer-record.ts';
import type { LayerLimits } from './layer-types.ts';
import { LayerUnpacker } from './layer-unpacker.ts';
import { settleLayers } from './settle-layers.ts';
import { archive, diffIdOf, entry, longName } from './testing/tar-build.ts';
import {
  base,
  chunks,
  refuses,
  signal,
  snapshots,
  tarType,
  unpack,
  unpacker,
  unpackerWithPrograms,
} from './testing/unpack.ts';

/** What decompresses. */
const decompressors = [
  ['Node', unpacker],
  ['programs', unpackerWithPrograms],
] as const;

test('bounds of a layer', async () => {
  const bounded = async (limits: Partial<LayerLimits>, tar: Buffer, message: RegExp): Promise<void> => {
    await using small = new LayerUnpacker({ maxWorkers: 1, snapshotRoot: base, limits });
    await refuses(tar, 'invalid-argument', message, { unpacker: small });
  };
  const two = archive(entry({ name: 'one' }, 'x'), entry({ name: 'two' }, 'y'));
  await bounded({ maxEntries: 1 }, two, /more than 1 entries/);
  await bounded({ maxTarBytes: 2000 }, two, /longer than 2000/);
  await bounded({ maxContentBytes: 1 }, two, /beyond 1 bytes/);
});

test('compressions, in pieces and from files; zstd of many frames', async () => {
  const tar = archive(
    ...Array.from({ length: 300 }, (_, index) =>
      entry({ name: `f${index}` }, Buffer.alloc(index * 17, index)),
    ),
  );
  const layers: [string, string, Buffer][] = [
    ['gzip', `${tarType}+gzip`, gzipSync(tar)],
    ['docker', 'application/vnd.docker.image.rootfs.diff.tar.gzip', gzipSync(tar)],
    [
      'two gzip members',
      `${tarType}+gzip`,
      Buffer.concat([gzipSync(tar.subarray(0, 70_000)), gzipSync(tar.subarray(70_000))]),
    ],
    ['zstd', `${tarType}+zstd`, zstdCompressSync(tar)],
    ['none', tarType, tar],
  ];
  const skippable = Buffer.from('502a4d1804000000deadbeef', 'hex');
  const frames = [skippable];
  for (let at = 0; at < tar.length; at += 3000)
    frames.push(zstdCompressSync(tar.subarray(at, at + 3000)), skippable);
  layers.push(['zstd frames', `${tarType}+zstd`, Buffer.concat(frames)]);
  for (const [name, mediaType, data] of layers) {
    for (const [by, unpacker] of decompressors) {
      for (const size of [7, 4096]) {
        if (size === 7 && data.length > 100_000) continue;
        const root = await unpack(tar, { mediaType, source: chunks(data, size), unpacker });
        assert.equal(readdirSync(root).length, 300, `${name} by ${by}`);
        rmSync(join(root, '..'), { recursive: true });
      }
    }
    writeFileSync(join(base, 'blob'), data);
    const root = await unpack(tar, { mediaType, source: { path: join(base, 'blob') } });
    assert.equal(readFileSync(join(root, 'f299')).length, 299 * 17);
    rmSync(join(root, '..'), { recursive: true });
  }
});

test('CVE-2021-20291: damaged, cut and mislabelled compression ends with an error, never hangs', async () => {
  const tar = archive(entry({ name: 'a' }, Buffer.alloc(3_000_000, 'abcdefg')));
  const gzip = gzipSync(tar);
  const zstd = zstdCompressSync(tar);
  const broken = Buffer.from(gzip);
  broken.fill(0xff, 40, 80);
  const cases: [string, Buffer, RegExp][] = [
    ['+gzip', gzip.subarray(0, gzip.length - 10), /unexpected end|middle/],
    ['+gzip', broken, /damaged compression/],
    ['+gzip', zstd, /says gzip, the bytes are zstd/],
    ['+gzip', tar, /says gzip, the bytes are none/],
    ['', gzip, /says none, the bytes are gzip/],
    ['+zstd', zstd.subarray(0, zstd.length - 3), /middle of a frame|damaged/],
    ['+zstd', Buffer.concat([zstd, Buffer.from('garbage!')]), /follows a frame/],
    ['+gzip', Buffer.alloc(0), /empty/],
  ];
  for (const [by, unpacker] of decompressors) {
    for (const [suffix, data, byNode] of cases) {
      const source = chunks(data, 50_000);
      const message = by === 'Node' ? byNode : new RegExp(`${byNode.source}|damaged compression`);
      await refuses(tar, 'data-loss', message, { mediaType: tarType + suffix, source, unpacker });
    }
  }
  await refuses(tar, 'unimplemented', /media type/, { mediaType: `${tarType}+gzip+encrypted` });
  await refuses(tar, 'internal', /ENOENT/, { source: { path: join(base, 'absent') } });
});

test('a tar of another digest than promised is refused', async () => {
  const tar = archive(entry({ name: 'a' }, 'x'));
  await refuses(tar, 'data-loss', /has the digest sha256:/, {
    source: chunks(archive(entry({ name: 'a' }, 'y'))),
  });
});

test('an aborted unpack leaves nothing, closes the source, and the next one works', async () => {
  const tar = archive(entry({ name: 'a' }, Buffer.alloc(100_000)));
  const controller = new AbortController();
  const closed = Promise.withResolvers<void>();
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      yield tar.subarray(0, 50_000);
      controller.abort(new Error('client went away'));
      await closed.promise;
    } finally {
      closed.resolve();
    }
  }
  const diffId = diffIdOf(tar);
  const request = {
    mediaType: tarType,
    chainId: diffId as string as ChainId,
    parentChainIds: [],
    expectedDiffId: diffId,
  };
  const before = readdirSync(snapshots);
  await assert.rejects(
    unpacker.unpack({ ...request, source: endless(), signal: controller.signal }),
    /client went away/,
  );
  closed.resolve();
  assert.deepEqual(readdirSync(snapshots), before);
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield tar.subarray(0, 50_000);
    throw new Error('connection reset');
  }
  await assert.rejects(unpacker.unpack({ ...request, source: failing(), signal }), /connection reset/);
  assert.deepEqual(readdirSync(snapshots), before);
  assert.ok(existsSync(await unpack(tar)));
});

test('a layer that is there is not read again; the same layer twice at once is one layer', async () => {
  const tar = archive(entry({ name: 'once' }, 'x'));
  await using two = new LayerUnpacker({ maxWorkers: 2, snapshotRoot: base });
  const roots = await Promise.all([unpack(tar, { unpacker: two }), unpack(tar, { unpacker: two })]);
  assert.equal(roots[0], roots[1]);
  await unpack(tar, { source: chunks(Buffer.from('not read')) });
});

test('directories that a layer only implies look as the layers below say', async () => {
  const lower = await unpack(
    archive(entry({ name: 'tmp/', mode: 0o1777, uid: 3, gid: 4, mtime: 5 }), entry({ name: 'tmp/a' })),
  );
  const upper = await unpack(archive(entry({ name: 'tmp/sub/b' })));
  const chain = [lower, upper].map((root) => join(root, '..'));
  assert.deepEqual(readLayerRecord(join(upper, '..'))?.impliedDirectories, ['tmp', 'tmp/sub']);
  settleLayers(chain);
  const status = lstatSync(join(upper, 'tmp'));
  assert.deepEqual(
    [status.mode, status.uid, status.gid, status.mtimeMs],
    [constants.S_IFDIR | 0o1777, 3, 4, 5000],
  );
  assert.equal(lstatSync(join(upper, 'tmp/sub')).mode & 0o7777, 0o755);
  assert.deepEqual(readLayerRecord(join(upper, '..'))?.impliedDirectories, []);
});

test('a tree deeper than PATH_MAX is unpacked through symlinks, and removed when the layer fails', async () => {
  const deep = 'd/'.repeat(1000);
  const parts = Array.from({ length: 5 }, (_, index) => [
    entry({ name: `l${index}`, type: '2', link: index === 0 ? '.' : `l${index - 1}/${deep.slice(0, -1)}` }),
    longName(`l${index}/${deep}`),
    entry({ name: 'x/' }),
  ]).flat();
  const long = parts.map((part) => part);
  await refuses(
    archive(...long, entry({ name: 'bad', type: 'Z' })),
    'invalid-argument',
    /unknown type|too long/,
  );
});
