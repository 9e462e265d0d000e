import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mknodat, pathDirectory } from './at.ts';
import { copyTree, hasEntries } from './copy-tree.ts';
import { lgetxattr, lsetxattr } from './file-status.ts';
import { labelTree } from './label-tree.ts';
import { mountTmpfs, unmount } from './mount.ts';
import { enterPrivateMounts } from './private-mounts.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-copy-')));
const root = join(base, 'root');
const content = join(root, 'srv/data');
let copies = 0;

function newTarget(): string {
  copies += 1;
  const target = join(base, `copy-${copies}`);
  mkdirSync(target);
  return target;
}

function withFd<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, pathDirectory);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

before(() => {
  mountTmpfs({ target: base, flags: [] });
  mkdirSync(content, { recursive: true });
  writeFileSync(join(base, 'secret'), 'of the host');
});
after(() => {
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

test('a copy has the content, modes, owners, times, links, holes and attributes of the original', () => {
  mkdirSync(join(content, 'sub'));
  const name = Buffer.concat([Buffer.from(`${content}/`), Buffer.from([0xff, 0xfe])]);
  writeFileSync(name, 'not UTF-8');
  writeFileSync(join(content, 'sub/program'), 'x');
  chownSync(join(content, 'sub/program'), 1000, 2000);
  chmodSync(join(content, 'sub/program'), 0o4751);
  linkSync(join(content, 'sub/program'), join(content, 'again'));
  symlinkSync('../../../../secret', join(content, 'link'));
  const sparse = openSync(join(content, 'sparse'), 'w');
  writeSync(sparse, 'start', 0);
  writeSync(sparse, 'end', 64 * 1024 ** 2);
  closeSync(sparse);
  truncateSync(join(content, 'sparse'), 2 ** 40);
  const value = Buffer.from(`01000002${'00200000'.padEnd(32, '0')}`, 'hex');
  withFd(content, (fd) => {
    mknodat(fd, 'pipe', 0o010_640, { major: 0, minor: 0 });
    lsetxattr(fd, 'sub', 'security.capability', value);
    lsetxattr(fd, 'sub', 'security.selinux', Buffer.from('a:b:c:s0'));
  });
  utimesSync(join(content, 'sub'), 1000, 1000);
  chownSync(content, 70, 70);
  chmodSync(content, 0o1700);

  const target = newTarget();
  assert.equal(copyTree({ root, directory: '/srv/data', target }), true);
  const names = (path: string) => readdirSync(path, { encoding: 'latin1' }).toSorted();
  assert.deepEqual(names(target), names(content));
  for (const path of ['', 'sub', 'sub/program', 'again', 'link', 'sparse', 'pipe']) {
    const [one, other] = [content, target].map((place) => lstatSync(join(place, path)));
    for (const field of ['mode', 'uid', 'gid', 'size', 'nlink'] as const) {
      assert.equal(other?.[field], one?.[field], `${field} of ${path}`);
    }
  }
  assert.equal(statSync(join(target, 'sub')).mtimeMs, 1_000_000);
  assert.equal(statSync(join(target, 'again')).ino, statSync(join(target, 'sub/program')).ino);
  assert.equal(readlinkSync(join(target, 'link')), '../../../../secret');
  assert.ok(lstatSync(join(target, 'sparse')).blocks * 512 < 4 * 1024 ** 2, 'a hole stays one');
  const copied = Buffer.concat([Buffer.from(`${target}/`), Buffer.from([0xff, 0xfe])]);
  assert.equal(readFileSync(copied, 'utf8'), 'not UTF-8');
  const sparseCopy = openSync(join(target, 'sparse'), 'r');
  const tail = Buffer.alloc(5);
  readSync(sparseCopy, tail, 0, 5, 64 * 1024 ** 2);
  closeSync(sparseCopy);
  assert.equal(tail.toString(), 'end\0\0');
  withFd(target, (fd) => {
    assert.deepEqual(lgetxattr(fd, 'sub', 'security.capability'), value);
    assert.equal(lgetxattr(fd, 'sub', 'security.selinux'), undefined, 'a label belongs to its place');
  });
});

test('CVE-2022-23648: neither a symlink nor .. leads a copy out of the root', () => {
  symlinkSync('../../..', join(root, 'up'));
  symlinkSync(base, join(root, 'absolute'));
  mkdirSync(join(root, 'only-in-root'));
  for (const directory of [`/absolute`, `/../../..${base}`]) {
    const target = newTarget();
    assert.equal(copyTree({ root, directory, target }), false, directory);
    assert.deepEqual(readdirSync(target), []);
  }
  for (const directory of ['/up', '/../../..']) {
    const target = newTarget();
    copyTree({ root, directory, target });
    assert.ok(existsSync(join(target, 'only-in-root')), directory);
    assert.ok(!existsSync(join(target, 'secret')), directory);
  }
});

test('a directory that is missing, a file in its place, one that is empty', () => {
  writeFileSync(join(root, 'file'), '');
  mkdirSync(join(root, 'empty'));
  assert.equal(copyTree({ root, directory: '/none', target: newTarget() }), false);
  assert.throws(() => copyTree({ root, directory: '/file', target: newTarget() }), { code: 'ENOTDIR' });
  assert.equal(hasEntries(root, '/empty'), false);
  assert.equal(hasEntries(root, '/none'), false);
  assert.equal(hasEntries(root, '/srv'), true);
});

test('a copy and a walk of labels end when they are told to', () => {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  stop[0] = 1;
  assert.throws(() => copyTree({ root, directory: '/', target: newTarget(), stop }), { code: 'ECANCELED' });
  assert.throws(() => labelTree({ path: root, label: 'a:b:c:s0', stop }), { code: 'ECANCELED' });
});

test('labels are given to everything below, and to nothing that a symlink names', () => {
  const label = 'system_u:object_r:container_file_t:s0:c1,c2';
  const labelOf = (path: string, name: string) =>
    withFd(path, (fd) => lgetxattr(fd, name, 'security.selinux')?.toString().replace(/\0$/, ''));
  const volume = join(base, 'volume');
  mkdirSync(join(volume, 'deep/er'), { recursive: true });
  writeFileSync(join(volume, 'deep/file'), '');
  symlinkSync(join(base, 'secret'), join(volume, 'deep/link'));
  labelTree({ path: volume, label });
  assert.equal(labelOf(base, 'volume'), label);
  assert.equal(labelOf(volume, 'deep'), label);
  assert.equal(labelOf(join(volume, 'deep'), 'file'), label);
  assert.equal(labelOf(join(volume, 'deep'), 'link'), label);
  assert.equal(labelOf(base, 'secret'), undefined);
  labelTree({ path: join(volume, 'deep/file'), label: 'a:b:c:s0' });
  assert.equal(labelOf(join(volume, 'deep'), 'file'), 'a:b:c:s0');
  symlinkSync(join(volume, 'deep'), join(base, 'swapped'));
  assert.throws(() => labelTree({ path: join(base, 'swapped/file'), label }), { code: 'ESTALE' });
});
