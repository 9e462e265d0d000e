import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, openSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { close } from './libc.ts';
import { bindMount, mountTmpfs } from './mount.ts';
import { readMounts } from './mountinfo.ts';
import { enterPrivateMounts } from './private-mounts.ts';
import { unmountTree } from './unmount-tree.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-unmount-')));
after(() => rmSync(base, { recursive: true }));

test('netns leaks (containerd#3667, cri-o#273, kubernetes#110938): pins and mounts that somebody still holds leave the tree, and their files can go', () => {
  const directory = join(base, 'sandbox');
  const outside = join(base, 'outside');
  mkdirSync(outside);
  mountTmpfs({ target: outside });
  mkdirSync(join(directory, 'ns'), { recursive: true });
  mkdirSync(join(directory, 'shm/deep'), { recursive: true });
  writeFileSync(join(directory, 'ns/net'), '');
  bindMount('/proc/self/ns/net', join(directory, 'ns/net'));
  mountTmpfs({ target: join(directory, 'shm') });
  mkdirSync(join(directory, 'shm/deep'));
  mountTmpfs({ target: join(directory, 'shm/deep') });
  writeFileSync(join(directory, 'shm/deep/file'), 'held');
  mkdirSync(join(directory, 'over/below'), { recursive: true });
  mountTmpfs({ target: join(directory, 'over/below') });
  for (let times = 0; times < 2; times += 1) mountTmpfs({ target: join(directory, 'over') });
  symlinkSync(outside, join(directory, 'link'));
  const held = [join(directory, 'ns/net'), join(directory, 'shm/deep/file')].map((path) =>
    openSync(path, 'r'),
  );
  unmountTree(directory);
  assert.deepEqual(
    readMounts().filter(({ target }) => target.startsWith(directory)),
    [],
  );
  assert.ok(
    readMounts().some(({ target }) => target === outside),
    'links are not followed',
  );
  unmountTree(outside);
  rmSync(directory, { recursive: true });
  unmountTree(directory);
  for (const fd of held) close(fd);
});
