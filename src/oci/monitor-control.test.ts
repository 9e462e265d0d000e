import assert from 'node:assert/strict';
import { closeSync, constants, mkdtempDisposableSync, openSync, readSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { errnoOf } from '../lib/errors.ts';
import { runCommand } from '../linux/command.ts';
import { TerminalResizer } from './monitor-control.ts';

/** What a reader finds in a FIFO now. */
function readAll(fd: number): string {
  const buffer = Buffer.alloc(1024 * 1024);
  try {
    return buffer.toString('latin1', 0, readSync(fd, buffer));
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return '';
    throw error;
  }
}

test('a monitor that reads no more fails nobody, and is told the last size when it reads again', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-resize-'));
  const fifo = join(directory.path, 'ctl');
  await runCommand(['mkfifo', fifo], { check: true });
  using fds = new DisposableStack();
  const reader = fds.adopt(openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK), closeSync);
  const writer = fds.adopt(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK), closeSync);
  const block = Buffer.alloc(4096, ' ');
  assert.throws(() => {
    for (;;) writeSync(writer, block);
  }, /EAGAIN/);
  using resizer = new TerminalResizer(directory.path);
  resizer.resize({ columns: 80, rows: 24 });
  resizer.resize({ columns: 132, rows: 50 });
  readAll(reader);
  let told = '';
  while (!told.includes('\n')) {
    await new Promise((resolve) => setImmediate(resolve));
    told += readAll(reader);
  }
  assert.equal(told.trim(), '1 50 132');
});
