import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { mountTmpfs, unmount } from '../../linux/mount.ts';
import { mountOverlay } from '../../linux/overlay.ts';
import { enterPrivateMounts } from '../../linux/private-mounts.ts';
import { rootChanges } from './root-changes.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-changes-')));
mountTmpfs({ target: base });
after(() => {
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

/** A root file system of two layers, changed by `change`, and what is found of it. */
async function changesOf(name: string, change: (root: string) => void) {
  const at = (part: string): string => join(base, name, part);
  for (const part of ['lower', 'upper', 'work', 'rootfs']) mkdirSync(at(part), { recursive: true });
  mkdirSync(at('lower/etc/deep'), { recursive: true });
  writeFileSync(at('lower/etc/motd'), 'hello');
  writeFileSync(at('lower/etc/deep/file'), 'deep');
  symlinkSync('/etc', at('lower/link'));
  const directories = { lowerDirs: [at('lower')], upperDir: at('upper'), workDir: at('work') };
  mountOverlay({ ...directories, target: at('rootfs'), options: ['index=off', 'redirect_dir=off'] });
  try {
    change(at('rootfs'));
    return await rootChanges({ rootfs: at('rootfs'), own: [at('upper')], image: [at('lower')] });
  } finally {
    unmount(at('rootfs'));
  }
}

test('a container that has written nothing has changed nothing', async () => {
  assert.deepEqual(await changesOf('nothing', () => undefined), { present: [], deleted: [] });
});

test('new, changed and deleted files, with names of any bytes', async () => {
  const odd = Buffer.from([0x2d, 0xff, 0x0a]);
  const { present, deleted } = await changesOf('files', (root) => {
    writeFileSync(join(root, 'etc/motd'), 'changed');
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), odd]), '');
    rmSync(join(root, 'etc/deep/file'));
  });
  assert.deepEqual(present, [odd.toString('latin1'), 'etc', 'etc/deep', 'etc/motd']);
  assert.deepEqual(deleted, ['etc/deep/file']);
});

test('a directory made anew hides what the image had in it', async () => {
  const { present, deleted } = await changesOf('opaque', (root) => {
    rmSync(join(root, 'etc'), { recursive: true });
    mkdirSync(join(root, 'etc'));
    writeFileSync(join(root, 'etc/deep'), 'a file now');
  });
  assert.deepEqual(present, ['etc', 'etc/deep']);
  assert.deepEqual(deleted, ['etc/motd']);
});

test('where the image has a symlink, its target on the node is not looked at', async () => {
  const { present, deleted } = await changesOf('symlink', (root) => {
    rmSync(join(root, 'link'));
    mkdirSync(join(root, 'new'));
    renameSync(join(root, 'new'), join(root, 'link'));
    symlinkSync('/', join(root, 'escape'));
  });
  assert.deepEqual(present, ['escape', 'link']);
  assert.deepEqual(deleted, []);
});

test('a symlink over a directory that came with a checkpoint does not lead to files of the node', async () => {
  const at = (part: string): string => join(base, 'restored', part);
  for (const part of ['node', 'lower', 'brought/a', 'brought/b', 'upper', 'work', 'rootfs'])
    mkdirSync(at(part), { recursive: true });
  for (const file of ['node/secret', 'brought/a/secret', 'brought/b/secret']) writeFileSync(at(file), file);
  const lowerDirs = [at('brought'), at('lower')];
  mountOverlay({ lowerDirs, upperDir: at('upper'), workDir: at('work'), target: at('rootfs'), options: [] });
  try {
    rmSync(at('rootfs/a'), { recursive: true });
    symlinkSync(at('node'), at('rootfs/a'));
    rmSync(at('rootfs/b'), { recursive: true });
    writeFileSync(at('rootfs/b'), 'a file now');
    const own = [at('upper'), at('brought')];
    const found = await rootChanges({ rootfs: at('rootfs'), own, image: [at('lower')] });
    assert.deepEqual(found, { present: ['a', 'b'], deleted: [] });
  } finally {
    unmount(at('rootfs'));
  }
});

test('a tree too deep to be walked is refused: a part of it would pass for all', async () => {
  const bury = (root: string): void =>
    void mkdirSync(join(root, ...Array.from({ length: 300 }, () => 'd')), { recursive: true });
  await assert.rejects(changesOf('buried', bury), {
    kind: 'failed-precondition',
    message: /more than 256 deep/,
  });
});
