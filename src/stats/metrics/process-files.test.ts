import assert from 'node:assert/strict';
import { mkdirSync, mkdtempDisposableSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readOpenFiles, readSoftLimits } from './process-files.ts';

const bounds = { processes: 10, links: 100 };

function makeProc(root: string, processes: Readonly<Record<string, readonly string[]>>): void {
  for (const [pid, targets] of Object.entries(processes)) {
    const directory = join(root, pid, 'fd');
    mkdirSync(directory, { recursive: true });
    for (const [fd, target] of targets.entries()) symlinkSync(target, join(directory, String(fd)));
  }
}

test('descriptors of all processes are counted, sockets among them', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-proc-'));
  makeProc(directory.path, {
    7: ['/dev/null', 'socket:[12]', 'pipe:[3]'],
    8: ['socket:[12]', 'anon_inode:[eventpoll]'],
  });
  assert.deepEqual(await readOpenFiles([7, 8, 9], bounds, directory.path), {
    fileDescriptors: 5,
    sockets: 2,
  });
});

test('what is too much to count, or cannot be read, has no number', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-proc-'));
  makeProc(directory.path, { 7: ['/dev/null', 'socket:[1]', 'socket:[2]'], 8: ['socket:[3]'] });
  const read = async (pids: number[], limits = bounds) => await readOpenFiles(pids, limits, directory.path);
  assert.deepEqual(await read([7, 8], { processes: 10, links: 3 }), { fileDescriptors: 4 });
  assert.deepEqual(await read([7, 8], { processes: 1, links: 100 }), {});
  assert.deepEqual(await read([99]), {});
  assert.deepEqual(await read([]), {});
});

test('limits are those of the process, without the unlimited ones', () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-proc-'));
  mkdirSync(join(directory.path, '7'));
  writeFileSync(
    join(directory.path, '7/limits'),
    [
      'Limit                     Soft Limit           Hard Limit           Units     ',
      'Max cpu time              unlimited            unlimited            seconds   ',
      'Max open files            1024                 524288               files     ',
      'Max nice priority         0                    0                    ',
    ].join('\n'),
  );
  assert.deepEqual(readSoftLimits(7, directory.path), [
    { name: 'max_open_files', value: 1024n },
    { name: 'max_nice_priority', value: 0n },
  ]);
  assert.deepEqual(readSoftLimits(8, directory.path), []);
  assert.deepEqual(readSoftLimits(undefined), []);
});

test('the kernel gives the same form', async () => {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const open = await readOpenFiles([process.pid]);
  assert.ok((open.fileDescriptors ?? 0) > 3);
  assert.ok((open.sockets ?? 0) >= 1);
  assert.ok(readSoftLimits(process.pid).some(({ name }) => name === 'max_open_files'));
  server.close();
});
