import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathDirectory } from './at.ts';
import { close } from './libc.ts';
import { bindMount, bindMountFd, mountTmpfs, setPropagation, unmount } from './mount.ts';
import { parseMountInfo, readMounts } from './mountinfo.ts';
import { hasLowerDirAppend, mountOverlay, type OverlayMethod } from './overlay.ts';
import { enterPrivateMounts } from './private-mounts.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-mount-')));
mountTmpfs({ target: base });
after(() => {
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

function directory(...names: readonly string[]): string {
  const path = join(base, ...names);
  mkdirSync(path, { recursive: true });
  return path;
}

const mountsAt = (target: string) => readMounts().filter((mount) => mount.target === target);

test('mountinfo: escaped names, optional fields, and lines that do not parse', () => {
  const mounts = parseMountInfo(
    '36 35 98:0 /mnt1 /a\\040b\\134c rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n' +
      'broken\n25 1 0:22 / /proc ro - proc proc rw\n',
  );
  assert.equal(mounts.length, 2);
  assert.equal(mounts[0]?.target, '/a b\\c');
  assert.deepEqual(mounts[0]?.propagation, ['master:1', 'shared:2']);
  assert.deepEqual(mounts[1]?.propagation, []);
  assert.equal(mounts[1]?.fstype, 'proc');
});

test('a bind mount is read-only from the start, recursively, and unmounting twice is no error', () => {
  const source = directory('source');
  mountTmpfs({ target: directory('source', 'below'), sizeBytes: 65_536 });
  writeFileSync(join(source, 'file'), 'x');
  const target = directory('target');
  bindMount(source, target, { recursive: true, readOnly: true, propagation: 'rslave' });
  assert.throws(() => writeFileSync(join(target, 'file'), 'y'), { code: 'EROFS' });
  assert.throws(() => writeFileSync(join(target, 'below', 'file'), 'y'), { code: 'EROFS' });
  writeFileSync(join(source, 'file'), 'z');
  assert.equal(unmount(join(target, 'below')), true);
  assert.equal(unmount(target), true);
  assert.equal(unmount(target), false);
  assert.equal(unmount(join(base, 'absent')), false);
});

test('CVE-2021-30465: a bind mount to a descriptor does not follow a path that was exchanged', () => {
  const source = directory('fd-source');
  writeFileSync(join(source, 'mark'), '');
  const target = directory('fd-target');
  const elsewhere = directory('fd-elsewhere');
  const sourceFd = openSync(source, pathDirectory);
  const targetFd = openSync(target, pathDirectory);
  try {
    rmSync(target, { recursive: true });
    symlinkSync(elsewhere, target);
    assert.throws(() => bindMountFd(sourceFd, targetFd), { code: 'ENOENT' });
    assert.deepEqual(readdirSync(elsewhere), []);
  } finally {
    close(sourceFd);
    close(targetFd);
  }
});

test('propagation is set and read back', () => {
  const target = directory('shared');
  bindMount(target, target, { propagation: 'private' });
  assert.deepEqual(mountsAt(target)[0]?.propagation, []);
  setPropagation(target, 'shared');
  assert.match(mountsAt(target)[0]?.propagation[0] ?? '', /^shared:/);
  unmount(target);
});

test('an unmount of a symlink does not unmount where it leads', () => {
  const target = directory('linked-mount');
  mountTmpfs({ target });
  symlinkSync(target, join(base, 'link-to-mount'));
  assert.equal(unmount(join(base, 'link-to-mount')), false);
  assert.equal(mountsAt(target).length, 1);
  unmount(target);
});

test('mount names the target in its error', () => {
  assert.throws(() => mountTmpfs({ target: join(base, 'nowhere') }), {
    code: 'ENOENT',
    path: join(base, 'nowhere'),
  });
});

const methods: readonly OverlayMethod[] = hasLowerDirAppend() ? ['append', 'page'] : ['page'];

for (const method of methods) {
  const layers = (name: string, count: number, parent: string): string[] =>
    Array.from({ length: count }, (_, index) => {
      const lower = directory(name, parent, `${'0123456789abcdef'.repeat(4)}-${index}`, 'fs');
      writeFileSync(join(lower, `file-${index}`), String(index));
      writeFileSync(join(lower, 'top'), String(index));
      return lower;
    });

  for (const [name, parent] of [
    ['120 layers', 'plain'],
    ['paths longer than one fsconfig string', `${'long'.repeat(50)}/${'path'.repeat(50)}`],
    ['paths with the characters of options', 'a:b,c\\d e'],
  ] as const) {
    test(`overlay by ${method}: ${name}`, () => {
      const lowerDirs = layers(`${method}-${name}`, 120, parent);
      const place = directory(`${method}-${name}`, parent, 'upper,:\\place');
      const [upperDir, workDir, target] = ['upper', 'work', 'rootfs'].map((part) => join(place, part));
      assert.ok(upperDir !== undefined && workDir !== undefined && target !== undefined);
      for (const path of [upperDir, workDir, target]) mkdirSync(path);
      mountOverlay({ lowerDirs, upperDir, workDir, target, method, options: ['index=off'] });
      try {
        assert.equal(readdirSync(target).length, 121);
        assert.equal(readFileSync(join(target, 'top'), 'utf8'), '0');
        writeFileSync(join(target, 'new'), 'n');
        assert.equal(readFileSync(join(upperDir, 'new'), 'utf8'), 'n');
      } finally {
        unmount(target);
      }
    });
  }

  test(`overlay by ${method}: without an upper directory it is read-only; one layer alone is refused with a reason`, () => {
    const lowerDirs = layers(`${method}-ro`, 2, 'plain');
    const target = directory(`${method}-ro`, 'rootfs');
    mountOverlay({ lowerDirs, target, method });
    assert.throws(() => writeFileSync(join(target, 'new'), ''), { code: 'EROFS' });
    unmount(target);
    assert.throws(() => mountOverlay({ lowerDirs: lowerDirs.slice(0, 1), target, method }), {
      name: 'SyscallError',
    });
    assert.throws(() => mountOverlay({ lowerDirs: [join(base, 'gone')], target, method }), {
      code: 'ENOENT',
    });
  });
}
