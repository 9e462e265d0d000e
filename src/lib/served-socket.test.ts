import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isSocketServed } from './served-socket.ts';

test('a socket is served while somebody listens, not when its file is left or is not there', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-served-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'socket');
  assert.equal(await isSocketServed(path), false);
  const server = createServer((socket) => socket.destroy());
  const listening = Promise.withResolvers<void>();
  server.listen(path, listening.resolve);
  await listening.promise;
  assert.equal(await isSocketServed(path), true);
  // Closing would remove the file under its own name.
  const left = join(directory, 'left');
  renameSync(path, left);
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  await closed.promise;
  assert.equal(await isSocketServed(left), false);
});

test('what cannot be asked is an error, not a socket that may be taken', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-served-'));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'file'), '');
  await assert.rejects(isSocketServed(join(directory, 'file', 'socket')), { code: 'ENOTDIR' });
});
