import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { defaultLayerLimits } from '../../images/layers/layer-types.ts';
import { type ErrorKind, isKind, messageOf } from '../../lib/errors.ts';
import type { ArchiveLimits } from './archive-parts.ts';
import { readArchive } from './read-archive.ts';

const base = mkdtempSync(join(tmpdir(), 'gantry-read-'));
after(() => rmSync(base, { recursive: true }));
let count = 0;

type Entry = readonly [header: Partial<Header> & { readonly name: string }, content?: string | undefined];

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const [header, content] of entries) tar.entry(header, content ?? '');
  tar.finalize();
  return await buffer(tar);
}

/** Reads an archive of these bytes into a new directory, and gives the directory. */
async function read(bytes: Buffer, limits: Partial<ArchiveLimits> = {}): Promise<string> {
  count += 1;
  const directory = join(base, `target-${count}`);
  mkdirSync(directory);
  const file = join(base, `archive-${count}`);
  writeFileSync(file, bytes);
  const fd = openSync(file, 'r');
  try {
    await readArchive({ fd, directory, limits }, new AbortController().signal);
  } finally {
    closeSync(fd);
  }
  return directory;
}

async function refuses(
  archive: Promise<Buffer>,
  kind: ErrorKind,
  reason: RegExp,
  limits: Partial<ArchiveLimits> = {},
): Promise<void> {
  const bytes = await archive;
  await assert.rejects(read(bytes, limits), (error) => {
    assert.match(messageOf(error), reason);
    return isKind(error, kind);
  });
  assert.deepEqual(
    readdirSync(base).filter((name) => !/^(?:target|archive)-\d+$/.test(name)),
    [],
  );
}

/** Magic number, length, and what is not looked at. */
const toSkip = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7]);

const good: readonly Entry[] = [
  [{ name: 'config.dump' }, '{"id":"x"}'],
  [{ name: 'spec.dump' }, '{}'],
  [{ name: 'container.log' }, 'not wanted'],
  [{ name: 'checkpoint', type: 'directory' }],
  [{ name: 'checkpoint/core-1.img' }, 'core'],
  [{ name: './rootfs-diff.tar' }, 'diff'],
  [{ name: 'deleted.files' }, '[]'],
];

for (const [kind, compress] of [
  ['plain', (bytes: Buffer) => bytes],
  ['gzip', gzipSync],
  ['zstd', zstdCompressSync],
  [
    'zstd, with a frame to skip before it,',
    (bytes: Buffer) => Buffer.concat([toSkip, zstdCompressSync(bytes)]),
  ],
] as const)
  test(`a ${kind} archive: what a restore needs, and nothing else`, async () => {
    const directory = await read(compress(await tarOf(good)));
    assert.deepEqual(readdirSync(directory).toSorted(), [
      'checkpoint',
      'config.dump',
      'deleted.files',
      'rootfs-diff.tar',
    ]);
    assert.deepEqual(readdirSync(join(directory, 'checkpoint')), ['core-1.img']);
    assert.equal(readFileSync(join(directory, 'config.dump'), 'utf8'), '{"id":"x"}');
    assert.equal(readFileSync(join(directory, 'rootfs-diff.tar'), 'utf8'), 'diff');
  });

for (const name of [
  '../escaped',
  'checkpoint/../../escaped',
  '/escaped',
  'checkpoint/a/b',
  'checkpoint/..',
  'x/../y',
])
  test(`the name ${name}`, async () => {
    await refuses(tarOf([...good, [{ name }, 'x']]), 'invalid-argument', /it has the name/);
  });

for (const [type, more] of [
  ['symlink', { linkname: '/etc' }],
  ['link', { linkname: 'config.dump' }],
  ['character-device', { devmajor: 1, devminor: 3 }],
  ['block-device', { devmajor: 8, devminor: 0 }],
  ['fifo', {}],
] as const)
  for (const name of ['checkpoint', 'checkpoint/pages-1.img', 'container.log', 'elsewhere'])
    test(`a ${type} called ${name} (CVE-2026-53489)`, async () => {
      await refuses(tarOf([[{ name, type, ...more }], ...good]), 'invalid-argument', /in it is a/);
    });

test('the same name twice', async () => {
  await refuses(
    tarOf([...good, [{ name: './config.dump' }, '{}']]),
    'invalid-argument',
    /"config.dump" twice/,
  );
});

test('files that are too large, together and alone', async () => {
  const large = tarOf([[{ name: 'checkpoint/pages-1.img' }, 'x'.repeat(5000)], ...good]);
  await refuses(large, 'invalid-argument', /more than 4000/, { maxBytes: 4000 });
  const long = tarOf([[{ name: 'config.dump' }, 'x'.repeat(5000)]]);
  await refuses(long, 'invalid-argument', /"config.dump" in it has 5000 bytes/, {
    maxDescriptionBytes: 4000,
  });
});

test('more entries than there may be', async () => {
  await refuses(tarOf(good), 'invalid-argument', /3/, { maxEntries: 3 });
  const many = Array.from({ length: 10_001 }, (_, at): [{ name: string }, string] => [
    { name: `checkpoint/a${at}` },
    '',
  ]);
  await refuses(tarOf(many), 'invalid-argument', /more than 10000 entries/);
});

/** The first header of an archive with this size in it, in base 256. */
function withSize(archive: Buffer, size: bigint): Buffer {
  const changed = Buffer.from(archive);
  changed.fill(0, 124, 136);
  changed[124] = 0x80;
  changed.writeBigUInt64BE(size, 128);
  changed.fill(' ', 148, 156);
  const sum = changed.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return changed;
}

test('a file that pretends to be larger than the disk, or than anything can be', async (t) => {
  const archive = await tarOf([[{ name: 'checkpoint/pages-1.img' }, 'x']]);
  await refuses(Promise.resolve(withSize(archive, 2n ** 62n)), 'data-loss', /a number is too large/);
  const { bavail, bsize } = statfsSync(base);
  if (bavail * bsize > defaultLayerLimits.maxContentBytes) return t.skip('the disk has more than a tebibyte');
  const large = withSize(archive, BigInt(bavail * bsize));
  const maxBytes = Number.MAX_SAFE_INTEGER;
  await refuses(Promise.resolve(large), 'resource-exhausted', /^no space for its \d+ bytes$/, { maxBytes });
});

test('what is no archive, or is cut off', async () => {
  await refuses(Promise.resolve(Buffer.from('no')), 'invalid-argument', /not an archive/);
  const whole = await tarOf(good);
  await assert.rejects(read(whole.subarray(0, 600)), (error) => isKind(error, 'data-loss'));
  await assert.rejects(read(gzipSync(whole).subarray(0, 40)), (error) => isKind(error, 'data-loss'));
});
