import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { applyWrites } from './apply.ts';

/** A directory that stands for a cgroup. */
function cgroup(t: TestContext, files: Readonly<Record<string, string>>) {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-apply-'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const [file, value] of Object.entries(files)) writeFileSync(join(directory, file), value);
  return { directory, read: (file: string) => readFileSync(join(directory, file), 'utf8') };
}

test('what was applied can be undone later', async (t) => {
  const { directory, read } = cgroup(t, { 'cpu.weight': '100', 'cpu.max': 'max 100000' });
  const undo = await applyWrites(directory, [
    { file: 'cpu.weight', value: '039' },
    { file: 'cpu.max', value: '500 100000' },
  ]);
  assert.deepEqual([read('cpu.weight'), read('cpu.max')], ['039', '500 100000']);
  await undo();
  assert.deepEqual([read('cpu.weight'), read('cpu.max')], ['100', 'max 100000']);
});

test('a device that had no limit has none again', async (t) => {
  const { directory, read } = cgroup(t, { 'io.max': '' });
  const undo = await applyWrites(directory, [{ file: 'io.max', value: '8:16 rbps=100' }]);
  assert.equal(read('io.max'), '8:16 rbps=100');
  await undo();
  assert.equal(read('io.max'), '8:16 rbps=max wbps=max riops=max wiops=max');
});
