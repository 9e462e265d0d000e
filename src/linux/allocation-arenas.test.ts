import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { shareArenas } from './allocation-arenas.ts';
import { bindUnchecked } from './libc.ts';

const fopen = bindUnchecked<[path: string, mode: string], bigint>(
  'uintptr_t fopen(const char *path, const char *mode)',
);
const fclose = bindUnchecked<[file: bigint]>('int fclose(uintptr_t file)');
const mallocInfo = bindUnchecked<[options: number, file: bigint]>(
  'int malloc_info(int options, uintptr_t file)',
);

test('threads that begin later make no arenas', async (t) => {
  shareArenas();
  const before = countArenas();
  const workers = Array.from({ length: 4 }, () => new Worker('setInterval(() => 0, 1000)', { eval: true }));
  t.after(async () => await Promise.all(workers.map(async (worker) => await worker.terminate())));
  await Promise.all(
    workers.map(async (worker) => await new Promise((resolve) => worker.once('online', resolve))),
  );
  assert.equal(countArenas(), before);
});

function countArenas(): number {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-arenas-'));
  const path = join(directory, 'info');
  const file = fopen(path, 'w');
  mallocInfo(0, file);
  fclose(file);
  const arenas = readFileSync(path, 'utf8').match(/<heap /g) ?? [];
  rmSync(directory, { recursive: true });
  return arenas.length;
}
