import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { runCommand } from '../linux/command.ts';
import { programOf, readOnlyPathOf } from './read-only-program.ts';

/** A runtime of its own that says `old`. */
function installed(t: TestContext): {
  readonly directory: string;
  readonly path: string;
  readonly readOnlyPath: string;
} {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-program-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = install(directory, 'old');
  const readOnlyPath = readOnlyPathOf(path);
  assert.ok(readOnlyPath !== undefined);
  return { directory, path, readOnlyPath };
}

/** As a package manager does it: by a rename. */
function install(directory: string, word: string): string {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, 'crun');
  writeFileSync(`${path}.new`, `#!/bin/sh\necho ${word}\n`);
  chmodSync(`${path}.new`, 0o755);
  renameSync(`${path}.new`, path);
  return path;
}

async function said(program: string): Promise<string> {
  return (await runCommand([program], { check: true })).stdout.toString('utf8').trim();
}

test('CVE-2019-5736: a program on its read-only mount runs, and cannot be written by way of it, nor the mount be changed', async (t) => {
  const { readOnlyPath, ...runtime } = installed(t);
  assert.equal(programOf({ ...runtime, readOnlyPath }), readOnlyPath);
  assert.equal(await said(readOnlyPath), 'old');
  const directory = join(readOnlyPath, '..');
  for (const mount of [directory, readOnlyPath]) {
    const remount = await runCommand(['mount', '--no-canonicalize', '-o', 'remount,bind,rw', mount]);
    assert.notEqual(remount.exitCode, 0);
  }
  assert.throws(() => appendFileSync(readOnlyPath, 'x'), { code: 'EROFS' });
  assert.throws(() => writeFileSync(join(directory, 'other'), 'x'), { code: 'EROFS' });
  appendFileSync(runtime.path, '# the mount alone is read-only\n');
});

test('an upgraded program is the one that runs', async (t) => {
  const { directory, ...runtime } = installed(t);
  install(directory, 'new');
  assert.equal(programOf(runtime), runtime.readOnlyPath);
  assert.equal(await said(programOf(runtime)), 'new');
});

test('a program whose path leads elsewhere meanwhile is run there', async (t) => {
  const { directory, ...runtime } = installed(t);
  install(join(directory, 'elsewhere'), 'elsewhere');
  rmSync(runtime.path);
  symlinkSync('elsewhere/crun', runtime.path);
  assert.equal(await said(programOf(runtime)), 'elsewhere');
  renameSync(directory, `${directory}.old`);
  t.after(() => rmSync(`${directory}.old`, { recursive: true }));
  install(directory, 'another directory');
  assert.equal(programOf(runtime), runtime.path);
  assert.equal(await said(programOf(runtime)), 'another directory');
});

test('without a read-only mount the path is used', () => {
  assert.equal(readOnlyPathOf('/nonexistent/crun'), undefined);
  assert.equal(programOf({ path: '/nonexistent/crun', readOnlyPath: undefined }), '/nonexistent/crun');
});
