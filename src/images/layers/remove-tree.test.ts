import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { close, mkdirat, openat, pathDirectory, readDirectory } from '../../linux/at.ts';
import { LayerWorkers } from './layer-workers.ts';
import { removeTree } from './remove-tree.ts';
import { treeUsage } from './tree-usage.ts';

const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-tree-')));
const baseFd = openSync(base, pathDirectory);
after(() => {
  close(baseFd);
  rmSync(base, { recursive: true });
});

function makeDeep(name: string, levels: number): void {
  mkdirSync(join(base, name));
  let fd = openat(baseFd, name, readDirectory, 0);
  for (let level = 0; level < levels; level += 1) {
    mkdirat(fd, 'directory', 0o700);
    const next = openat(fd, 'directory', readDirectory, 0);
    close(fd);
    fd = next;
  }
  close(fd);
}

test('a tree deeper than any path is measured within bounds and removed', () => {
  makeDeep('deep', 2000);
  const usage = treeUsage(join(base, 'deep'));
  assert.ok(usage.inodes >= 500 && usage.inodes <= 2001, String(usage.inodes));
  removeTree(baseFd, 'deep');
  assert.deepEqual(readdirSync(base), []);
});

test('symlinks are removed, not followed; hard links are counted once; what is not there is fine', () => {
  mkdirSync(join(base, 'outside'));
  writeFileSync(join(base, 'outside', 'file'), 'x');
  mkdirSync(join(base, 'tree', 'sub'), { recursive: true });
  symlinkSync('../outside', join(base, 'tree', 'link'));
  writeFileSync(join(base, 'tree', 'data'), Buffer.alloc(10_000));
  const before = treeUsage(join(base, 'tree'));
  assert.equal(before.inodes, 4);
  removeTree(baseFd, 'tree');
  removeTree(baseFd, 'tree');
  assert.deepEqual(readdirSync(base), ['outside']);
  assert.deepEqual(readdirSync(join(base, 'outside')), ['file']);
  assert.throws(() => treeUsage(join(base, 'tree')), { code: 'ENOENT' });
});

test('a worker without work is ended, and a new one is started for the next job', async () => {
  await using workers = new LayerWorkers({ maxWorkers: 1, idleMs: 1 });
  const job = { name: 'usage', path: base } as const;
  const first = await workers.run(job);
  while (workers.idleWorkers > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.deepEqual(await workers.run(job), first);
  await assert.rejects(workers.run({ name: 'usage', path: join(base, 'absent') }), {
    kind: 'internal',
    message: /ENOENT/,
  });
});
