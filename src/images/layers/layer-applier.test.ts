import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lgetxattr, llistxattr } from '../../linux/file-status.ts';
import { readLayerRecord } from './layer-record.ts';
import { archive, entry, longName, pax } from './testing/tar-build.ts';
import { base, onRoot, refuses, unpack } from './testing/unpack.ts';

const isWhiteout = (path: string): boolean =>
  lstatSync(path).isCharacterDevice() && lstatSync(path).rdev === 0;
const isOpaque = (root: string, name: string): boolean =>
  onRoot(root, (fd) => lgetxattr(fd, name, 'trusted.overlay.opaque')?.toString() === 'y');

test('every kind of entry, with owner, mode and time', async () => {
  const root = await unpack(
    archive(
      entry({ name: './', mode: 0o711, mtime: 1_000_000 }),
      entry({ name: 'bin/', mode: 0o1777, uid: 5, gid: 6, mtime: 1_000_001 }),
      entry({ name: 'bin/su', mode: 0o6755, uid: 7, gid: 8, mtime: 1_000_002 }, 'content'),
      entry({ name: 'bin/su-hard', type: '1', link: './bin/su' }),
      entry({ name: 'bin/link', type: '2', link: '/etc/../../x', uid: 9, gid: 10, mtime: 1_000_003 }),
      entry({ name: 'bin/link-hard', type: '1', link: 'bin/link' }),
      entry({ name: 'null', type: '3', mode: 0o666, major: 1, minor: 3 }),
      entry({ name: 'disk', type: '4', mode: 0o660, major: 259, minor: 70_000 }),
      entry({ name: 'pipe', type: '6', mode: 0o622 }),
      entry({ name: 'v7-directory/', type: '\0' }),
      entry({ name: 'empty' }),
    ),
  );
  const su = lstatSync(join(root, 'bin/su'));
  assert.deepEqual([su.mode, su.uid, su.gid, su.mtimeMs, su.nlink], [0o106755, 7, 8, 1_000_002_000, 2]);
  assert.equal(readFileSync(join(root, 'bin/su-hard'), 'utf8'), 'content');
  const bin = lstatSync(join(root, 'bin'));
  assert.deepEqual([bin.mode, bin.uid, bin.gid, bin.mtimeMs], [0o41777, 5, 6, 1_000_001_000]);
  assert.deepEqual([lstatSync(root).mode, lstatSync(root).mtimeMs], [0o40711, 1_000_000_000]);
  const link = lstatSync(join(root, 'bin/link'));
  assert.deepEqual([link.uid, link.gid, link.mtimeMs, link.nlink], [9, 10, 1_000_003_000, 2]);
  assert.equal(readlinkSync(join(root, 'bin/link')), '/etc/../../x');
  assert.ok(lstatSync(join(root, 'null')).isCharacterDevice());
  assert.equal(lstatSync(join(root, 'null')).mode & 0o7777, 0o666);
  const disk = lstatSync(join(root, 'disk'));
  assert.ok(disk.isBlockDevice());
  assert.equal(disk.rdev, Number((70_000n & 0xffn) | (259n << 8n) | ((70_000n & ~0xffn) << 12n)));
  assert.ok(lstatSync(join(root, 'pipe')).isFIFO());
  assert.ok(lstatSync(join(root, 'v7-directory')).isDirectory());
  const record = readLayerRecord(join(root, '..'));
  assert.equal(record?.describesRoot, true);
  // root, bin, su, link, null, disk, pipe, v7-directory, empty
  assert.equal(record.inodes, 9);
});

test('more directories with directories in them than are kept open', async () => {
  const names = Array.from({ length: 600 }, (_, index) => `d${index}`);
  const root = await unpack(
    archive(
      ...names.flatMap((name, index) => [
        entry({ name: `${name}/`, mtime: 1_000_000 + index }),
        entry({ name: `${name}/below/`, mtime: 2_000_000 + index }),
        entry({ name: `${name}/below/file` }, name),
      ]),
    ),
  );
  for (const [index, name] of names.entries()) {
    const times = [name, `${name}/below`].map((path) => lstatSync(join(root, path)).mtimeMs / 1000);
    assert.deepEqual(times, [1_000_000 + index, 2_000_000 + index], name);
    assert.equal(readFileSync(join(root, name, 'below/file'), 'utf8'), name);
  }
});

test('containerd#8881, containerd#13030: whiteouts and opaque directories, with nothing below to hide (parallel unpack)', async () => {
  const root = await unpack(
    archive(
      entry({ name: 'a/.wh.gone' }),
      entry({ name: 'b/' }),
      entry({ name: 'b/.wh..wh..opq' }),
      entry({ name: 'b/kept' }, 'x'),
      entry({ name: '.wh.top' }),
      entry({ name: 'c/new' }, 'in this layer'),
      entry({ name: 'c/.wh.new' }),
      entry({ name: '.wh.d' }),
      entry({ name: 'd/' }),
      entry({ name: '.wh.e' }),
      entry({ name: 'e/below' }),
      entry({ name: 'f/' }),
      entry({ name: '.wh.f' }),
      entry({ name: '.wh..wh.plnk/', type: '5' }),
      entry({ name: '.wh..wh.plnk/1.2' }),
      entry({ name: '.wh.data' }, 'whiteouts may have data'),
    ),
  );
  assert.ok(isWhiteout(join(root, 'a/gone')));
  assert.ok(isWhiteout(join(root, 'top')));
  assert.ok(isWhiteout(join(root, 'data')));
  assert.ok(isOpaque(root, 'b'));
  assert.equal(
    readFileSync(join(root, 'c/new'), 'utf8'),
    'in this layer',
    'a whiteout hides lower layers only',
  );
  for (const name of ['d', 'e', 'f']) assert.ok(isOpaque(root, name), `${name} was removed and made anew`);
  assert.deepEqual(readdirSync(root).toSorted(), ['a', 'b', 'c', 'd', 'data', 'e', 'f', 'top']);
  assert.equal(readLayerRecord(join(root, '..'))?.isRootOpaque, false);
  const opaqueRoot = await unpack(archive(entry({ name: '.wh..wh..opq' })));
  assert.equal(readLayerRecord(join(opaqueRoot, '..'))?.isRootOpaque, true);
});

test('misused whiteouts are refused', async () => {
  for (const name of ['.wh.', '.wh..', '.wh...', '.wh.x/y', 'a/.wh.b/c/d']) {
    await refuses(archive(entry({ name })), 'invalid-argument', /whiteout/);
  }
  await refuses(archive(entry({ name: 'x', type: '1', link: '.wh.y' })), 'invalid-argument', /hard link/);
});

test('CVE-2025-47290, CVE-2021-32760: no entry leaves the layer by .. or symlinks', async () => {
  const outside = join(base, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'file'), 'host', { mode: 0o600 });
  for (const name of ['../x', 'a/../../x', '/..', '..']) {
    await refuses(archive(entry({ name })), 'invalid-argument', /leaves the layer/);
  }
  await refuses(
    archive(entry({ name: 'x', type: '1', link: '../outside/file' })),
    'invalid-argument',
    /leaves/,
  );
  const root = await unpack(
    archive(
      entry({ name: 'abs', type: '2', link: outside }),
      entry({ name: 'abs/file' }, 'layer'),
      entry({ name: 'abs/file2', mode: 0o4777 }, 'layer'),
      entry({ name: 'rel', type: '2', link: '../../../../../../../../outside2' }),
      entry({ name: 'rel/sub/' }),
      entry({ name: 'dev', type: '2', link: '/proc/self/fd' }),
      entry({ name: '/absolute/name' }, 'inside'),
      entry({ name: './a/.//b/../c' }, 'plain'),
    ),
  );
  assert.equal(readFileSync(join(outside, 'file'), 'utf8'), 'host');
  assert.deepEqual(readdirSync(outside), ['file']);
  assert.equal(
    readFileSync(join(root, outside, 'file'), 'utf8'),
    'layer',
    'the symlink leads inside the layer',
  );
  assert.ok(lstatSync(join(root, 'outside2/sub')).isDirectory());
  assert.equal(readFileSync(join(root, 'absolute/name'), 'utf8'), 'inside');
  assert.equal(readFileSync(join(root, 'a/c'), 'utf8'), 'plain');
  await refuses(
    archive(entry({ name: 'x', type: '2', link: outside }), entry({ name: 'y', type: '1', link: 'x/file' })),
    'invalid-argument',
    /hard link to what is no file of this layer/,
  );
  await refuses(
    archive(entry({ name: 'l', type: '2', link: 'l' }), entry({ name: 'l/x' })),
    'invalid-argument',
    /symbolic links|symlinks/,
  );
  await refuses(archive(entry({ name: './', type: '2', link: '/' })), 'invalid-argument', /root directory/);
  await refuses(
    archive(entry({ name: 'f' }, 'x'), entry({ name: 'f/g' })),
    'invalid-argument',
    /no directory/,
  );
});

test('a later entry takes the place of an earlier one', async () => {
  const root = await unpack(
    archive(
      entry({ name: 'dir/' }),
      entry({ name: 'dir/deep/' }),
      entry({ name: 'dir/deep/file' }, 'x'),
      entry({ name: 'dir', type: '0' }, 'a file now'),
      entry({ name: 'link', type: '2', link: 'other' }),
      entry({ name: 'other/' }),
      entry({ name: 'link/through' }, 't'),
      entry({ name: 'link/', mode: 0o700 }),
      entry({ name: 'link/own' }, 'o'),
      entry({ name: 'twice' }, 'first, and longer'),
      entry({ name: 'twice', mode: 0o600 }, 'second'),
      entry({ name: 'self' }, 'same'),
      entry({ name: 'self', type: '1', link: 'self' }),
    ),
  );
  assert.equal(readFileSync(join(root, 'dir'), 'utf8'), 'a file now');
  assert.deepEqual(readdirSync(join(root, 'other')), ['through']);
  assert.deepEqual(readdirSync(join(root, 'link')), ['own']);
  assert.equal(readFileSync(join(root, 'twice'), 'utf8'), 'second');
  assert.equal(readFileSync(join(root, 'self'), 'utf8'), 'same');
});

test('PAX: long and odd names, sizes, owners, times below a second, attributes', async () => {
  const long = `${'directory/'.repeat(30)}${'n'.repeat(200)}`;
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const root = await unpack(
    archive(
      entry({ name: 'pax_global_header', type: 'g' }, '11 a=b\n'.padEnd(11)),
      pax({ path: long, uid: '3000000000', gid: '70000', mtime: '-1.5', 'SCHILY.xattr.user.note': 'n\0v' }),
      entry({ name: 'short' }, 'long'),
      pax({
        'SCHILY.xattr.security.capability': capability,
        'SCHILY.xattr.trusted.overlay.redirect': '/etc',
        'SCHILY.xattr.user.overlay.opaque': 'y',
        'SCHILY.xattr.security.selinux': 'system_u:object_r:shadow_t:s0',
        'SCHILY.xattr.trusted.overlay.opaque': 'y',
      }),
      entry({ name: 'ping', uid: 4 }, 'x'),
      longName(`gnu/${'l'.repeat(150)}`),
      longName('t'.repeat(300), 'K'),
      entry({ name: 'cut', type: '2', isGnu: true, link: 'cut' }),
      entry({ name: 'caf\xe9' }, 'latin1'),
      pax({ path: 'jos\u00e9' }),
      entry({ name: 'x' }, 'utf8'),
    ),
  );
  const status = lstatSync(join(root, long));
  assert.deepEqual([status.uid, status.gid, status.mtimeMs], [3_000_000_000, 70_000, -1500]);
  onRoot(join(root, long, '..'), (fd) =>
    assert.equal(lgetxattr(fd, 'n'.repeat(200), 'user.note')?.toString(), 'n\0v'),
  );
  onRoot(root, (fd) => {
    assert.deepEqual(llistxattr(fd, 'ping'), ['security.capability']);
    assert.deepEqual(lgetxattr(fd, 'ping', 'security.capability'), capability);
  });
  assert.equal(readlinkSync(join(root, `gnu/${'l'.repeat(150)}`)), 't'.repeat(300));
  const names = readdirSync(root, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
  assert.ok(names.includes('caf\xe9'));
  assert.equal(readFileSync(join(root, 'jos\u00e9'), 'utf8'), 'utf8');
});
