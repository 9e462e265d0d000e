import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeRealMountPoints } from './root-directories.ts';

test('CVE-2026-41579, CVE-2026-88264, CVE-2026-88265, CVE-2023-27561, CVE-2023-28642: /dev, /proc and /sys of an image are real directories', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-root-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/passwd'), '');
  symlinkSync('/etc', join(root, 'dev'));
  writeFileSync(join(root, 'proc'), 'a file');
  mkdirSync(join(root, 'sys'));
  writeFileSync(join(root, 'sys/kept'), '');
  makeRealMountPoints(root);
  for (const name of ['dev', 'proc', 'sys']) assert.ok(lstatSync(join(root, name)).isDirectory(), name);
  assert.deepEqual(readdirSync(join(root, 'dev')), []);
  assert.deepEqual(readdirSync(join(root, 'sys')), ['kept']);
  assert.deepEqual(readdirSync(join(root, 'etc')), ['passwd']);
  rmSync(join(root, 'dev'), { recursive: true });
  makeRealMountPoints(root);
  assert.ok(!readdirSync(root).includes('dev'), 'what is not there is the runtime’s to make');
});
