import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { configSchema } from '../config-schema.ts';
import { makeDirectories } from './directories.ts';

test('CVE-2021-41103, CVE-2024-25621: nobody else enters the data, and the state only by name', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'gantry-directories-'));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  const root = join(base, 'lib');
  const state = join(base, 'run');
  // As an older release, or an administrator, may have left it.
  mkdirSync(root);
  chmodSync(root, 0o755);
  const before = process.umask(0);
  try {
    makeDirectories(configSchema.parse({ root, state }));
  } finally {
    process.umask(before);
  }
  const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
  assert.equal(mode(root), '700');
  assert.equal(mode(state), '711');
  for (const name of ['containers', 'exits', 'runtime', 's'])
    assert.equal(mode(join(state, name)), '700', name);
  for (const name of ['images', 'overlay']) assert.equal(mode(join(root, name)), '700', name);
  assert.equal(mode(join(state, 'sandboxes')), '711');
});
