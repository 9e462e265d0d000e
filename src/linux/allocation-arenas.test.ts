import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { releaseFreeMemory, shareArenas } from './allocation-arenas.ts';
import { bindUnchecked } from './libc.ts';

const fopen = bindUnchecked<[path: string, mode: string], bigint>(
  'uintptr_t fopen(const char *path, const char *mode)',
);
const fclose = bindUnchecked<[file: bigint]>('int fclose(uintptr_t file)');
const mallocInfo = bindUnchecked<[options: number, file: bigint]>(
  'int malloc_info(int options, uintptr_t file)',
);
const malloc = bindUnchecked<[bytes: number], bigint>('uintptr_t malloc(size_t size)');
const free = bindUnchecked<[address: bigint]>('void free(uintptr_t address)');
const memset = bindUnchecked<[address: bigint, byte: number, bytes: number], bigint>(
  'uintptr_t memset(uintptr_t address, int byte, size_t bytes)',
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

test('what was freed below blocks that are in use is given back', () => {
  const blockBytes = 64 * 1024;
  const blocks = Array.from({ length: 1000 }, () => malloc(blockBytes));
  for (const block of blocks) memset(block, 1, blockBytes);
  const kept = blocks.filter((_, at) => at % 100 === 99);
  for (const [at, block] of blocks.entries()) if (at % 100 !== 99) free(block);
  const heldBytes = process.memoryUsage.rss();
  releaseFreeMemory();
  const returnedBytes = heldBytes - process.memoryUsage.rss();
  for (const block of kept) free(block);
  assert.ok(returnedBytes > 50 * 1024 * 1024, `${returnedBytes} of 62 MB`);
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
