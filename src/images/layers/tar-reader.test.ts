import assert from 'node:assert/strict';
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError } from '../../lib/errors.ts';
import { defaultLayerLimits } from './layer-types.ts';
import { TarReader } from './tar-reader.ts';
import { archive, entry, header, longName, pax } from './testing/tar-build.ts';
import { refuses, unpack } from './testing/unpack.ts';

const sparsePair = (offset: number, length: number): string =>
  `${offset.toString(8).padStart(11, '0')} ${length.toString(8).padStart(11, '0')} `;

test('sparse files: old GNU with extension, PAX 0.0, 0.1 and 1.0', async () => {
  const pairs = Array.from({ length: 6 }, (_, index) => sparsePair(index * 100_000, 4));
  const extension = Buffer.alloc(512);
  extension.write(pairs.slice(4).join(''), 0, 'latin1');
  const old = header({
    name: 'old',
    type: 'S',
    isGnu: true,
    size: 24,
    edit: (block) => {
      block.write(pairs.slice(0, 4).join(''), 386, 'latin1');
      block[482] = 1;
      block.write(`${(1_000_000).toString(8).padStart(11, '0')} `, 483, 'latin1');
    },
  });
  const map = Buffer.alloc(512);
  map.write('2\n4096\n3\n1000000\n0\n');
  const root = await unpack(
    archive(
      old,
      extension,
      Buffer.from('aaaabbbbccccddddeeeeffff'.padEnd(512, '\0')),
      pax({
        'GNU.sparse.major': '1',
        'GNU.sparse.minor': '0',
        'GNU.sparse.name': 'one',
        'GNU.sparse.realsize': '1000000',
      }),
      entry({ name: 'GNUSparseFile.0/one' }, Buffer.concat([map, Buffer.from('xyz')])),
      pax({ 'GNU.sparse.size': '500', 'GNU.sparse.map': '100,2,400,1', 'GNU.sparse.numblocks': '2' }),
      entry({ name: 'zero-one' }, 'pqr'),
      entry({ name: 'after' }, 'after'),
    ),
  );
  const content = readFileSync(join(root, 'old'));
  assert.equal(content.length, 1_000_000);
  assert.equal(content.toString('latin1', 500_000, 500_004), 'ffff');
  assert.equal(content.toString('latin1', 4, 8), '\0\0\0\0');
  assert.ok(lstatSync(join(root, 'old')).blocks * 512 < 100_000, 'holes stay holes');
  const one = readFileSync(join(root, 'one'));
  assert.deepEqual([one.length, one.toString('latin1', 4096, 4099)], [1_000_000, 'xyz']);
  const zeroOne = readFileSync(join(root, 'zero-one'));
  assert.deepEqual([zeroOne.length, zeroOne.toString('latin1', 100, 102), zeroOne[400]], [500, 'pq', 0x72]);
  assert.equal(readFileSync(join(root, 'after'), 'utf8'), 'after');
});

test('CVE-2025-58183: sparse maps without bound, or that lie, are refused', async () => {
  const sparse10 = (map: string, realSize = '100'): Buffer => {
    const data = Buffer.alloc(Math.ceil(map.length / 512) * 512);
    data.write(map);
    const records = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': realSize };
    return archive(pax(records), entry({ name: 'f' }, data));
  };
  await refuses(sparse10('9999999999\n'), 'invalid-argument', /more than 65536 ranges/);
  await refuses(sparse10('1\n0\n5\n'), 'invalid-argument', /describes 5 bytes, 0 are stored/);
  await refuses(sparse10('2\n50\n0\n10\n0\n'), 'invalid-argument', /overlaps/);
  await refuses(sparse10('1\n200\n0\n'), 'invalid-argument', /leaves the file/);
  await refuses(sparse10('x\n'), 'invalid-argument', /not a size/);
  await refuses(sparse10('7'.repeat(600)), 'invalid-argument', /number without an end/);
  await refuses(sparse10('3\n0\n0\n'), 'invalid-argument', /number without an end/);
  await refuses(sparse10(`300\n${'1\n'.repeat(254)}`), 'data-loss', /longer than its entry/);
  await refuses(sparse10('0\n', '99999999999999999999'), 'invalid-argument', /not a size/);
});

test('damaged and cut archives', async () => {
  const good = archive(entry({ name: 'a' }, Buffer.alloc(5000, 1)), entry({ name: 'b' }, 'b'));
  for (const length of [100, 512, 1000, 5000, 6144, 6200]) {
    await refuses(good.subarray(0, length), 'data-loss', /middle of an entry/);
  }
  const badSum = Buffer.from(good);
  badSum[0] = 0x7a;
  await refuses(badSum, 'data-loss', /checksum/);
  await refuses(Buffer.alloc(2048, 0x41), 'data-loss', /octal|checksum/);
  await refuses(Buffer.concat([Buffer.alloc(512), good]), 'data-loss', /zeros among/);
  await refuses(archive(entry({ name: 'x', type: 'Z' })), 'invalid-argument', /unknown type/);
  await refuses(archive(pax({ path: 'lonely' })), 'data-loss', /middle of an entry/);
  await refuses(archive(entry({ name: 'p', type: 'x' }, '99 a=b\n')), 'data-loss', /PAX record/);
  await refuses(archive(pax({ path: 'a\0b' }), entry({ name: 'x' })), 'invalid-argument', /NUL/);
  await refuses(archive(pax({ uid: '4294967295' }), entry({ name: 'x' })), 'invalid-argument', /owner/);
  await refuses(archive(pax({ gid: '-1' }), entry({ name: 'x' })), 'invalid-argument', /PAX gid "-1" is not/);
  await refuses(archive(pax({ size: '1e3' }), entry({ name: 'x' })), 'invalid-argument', /PAX size "1e3" is/);
  await refuses(archive(header({ name: 'x', type: 'x', size: 2 ** 30 })), 'data-loss', /extended header/);
  await refuses(
    archive(entry({ name: 'n'.repeat(99) + 'm' }), longName('n'.repeat(5000)), entry({ name: 'x' })),
    'invalid-argument',
    /5000 bytes/,
  );
  await refuses(
    archive(pax({ path: 'n'.repeat(300) }), entry({ name: 'x' })),
    'invalid-argument',
    /name too long/,
  );
});

/** The same sequence on every run. */
function* randomNumbers(seed: number): Generator<number> {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

function eventsOf(parts: readonly Buffer[]): string[] {
  const events: string[] = [];
  const reader = new TarReader(defaultLayerLimits, {
    begin: (found) => events.push(`begin ${found.name} ${found.contentBytes}`),
    data: (chunk, start, end, offset) => {
      for (let at = start; at < end; at += 1) events.push(`${offset + at - start}:${chunk[at]}`);
    },
    finish: () => events.push('finish'),
  });
  for (const part of parts) reader.write(part);
  reader.end();
  return events;
}

const sample = archive(
  entry({ name: 'one/' }),
  longName(`long/${'n'.repeat(200)}`),
  entry({ name: 'x' }, 'abcdefghij'),
  pax({ path: 'pax', 'SCHILY.xattr.user.a': 'b', mtime: '1.5' }),
  entry({ name: 'y' }, 'k'.repeat(600)),
  pax({ 'GNU.sparse.size': '50', 'GNU.sparse.map': '10,2,40,1' }),
  entry({ name: 'sparse' }, 'pqr'),
  entry({ name: 'link', type: '2', link: 'one' }),
);

test('however the bytes are cut, the entries are the same', () => {
  const whole = eventsOf([sample]);
  const random = randomNumbers(7);
  for (let round = 0; round < 60; round += 1) {
    const parts: Buffer[] = [];
    for (let at = 0; at < sample.length;) {
      const length = 1 + Math.floor((random.next().value ?? 0) * (round < 5 ? 3 : 1500));
      parts.push(sample.subarray(at, at + length));
      at += length;
    }
    assert.deepEqual(eventsOf(parts), whole);
  }
});

test('mutated archives are read or refused, never worse', () => {
  const random = randomNumbers(11);
  const next = (below: number): number => Math.floor((random.next().value ?? 0) * below);
  let refused = 0;
  for (let round = 0; round < 3000; round += 1) {
    const mutant = Buffer.from(sample);
    for (let change = 0; change <= next(4); change += 1) mutant[next(mutant.length)] = next(256);
    // Half of them with checksums that hold, so that the fields behind them are reached.
    if (round % 2 === 0) for (let at = 0; at + 512 <= mutant.length; at += 512) repairChecksum(mutant, at);
    try {
      eventsOf([mutant.subarray(0, round % 3 === 0 ? next(mutant.length) : mutant.length)]);
    } catch (error) {
      assert.ok(error instanceof EngineError && error.kind !== 'internal', String(error));
      refused += 1;
    }
  }
  assert.ok(refused > 500, String(refused));
});

function repairChecksum(archiveBytes: Buffer, at: number): void {
  if (archiveBytes.toString('latin1', at + 257, at + 262) !== 'ustar') return;
  archiveBytes.fill(0x20, at + 148, at + 156);
  const sum = archiveBytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
  archiveBytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
}
