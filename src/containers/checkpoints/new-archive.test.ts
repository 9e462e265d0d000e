import assert from 'node:assert/strict';
import {
  chmodSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { isKind } from '../../lib/errors.ts';
import { NewArchive } from './new-archive.ts';

const base = mkdtempSync(join(tmpdir(), 'gantry-archive-'));
after(() => rmSync(base, { recursive: true }));

function directory(name: string): string {
  mkdirSync(join(base, name));
  return join(base, name);
}

test('an archive has its name once it is whole, and nobody else may read it', async () => {
  const place = directory('whole');
  await using archive = new NewArchive(join(place, 'a.tar'));
  assert.deepEqual(readdirSync(place), [], 'nothing before somebody may have written its name down');
  archive.create();
  assert.deepEqual(readdirSync(place), [basename(archive.partPath)]);
  writeFileSync(archive.partPath, 'bytes');
  await archive.commit();
  assert.deepEqual(readdirSync(place), ['a.tar']);
  assert.equal(readFileSync(join(place, 'a.tar'), 'utf8'), 'bytes');
  assert.equal(statSync(join(place, 'a.tar')).mode & 0o7777, 0o600);
});

test('what is not committed leaves nothing', async () => {
  const place = directory('dropped');
  {
    await using _never = new NewArchive(join(place, 'never.tar'));
    await using archive = new NewArchive(join(place, 'a.tar'));
    archive.create();
    writeFileSync(archive.partPath, 'bytes');
  }
  assert.deepEqual(readdirSync(place), []);
});

test('what cannot be committed to the end has no name either', async (t) => {
  const place = directory('cut');
  {
    await using archive = new NewArchive(join(place, 'a.tar'));
    archive.create();
    const failing = t.mock.method(files, 'unlink', async () => {
      failing.mock.restore();
      syncBuiltinESMExports();
      throw new Error('the disk is gone');
    });
    syncBuiltinESMExports();
    await assert.rejects(archive.commit(), /the disk is gone/);
  }
  assert.deepEqual(readdirSync(place), []);
});

test('a file that is there is not replaced, neither before nor after', async () => {
  const place = directory('taken');
  writeFileSync(join(place, 'before.tar'), 'theirs');
  assert.throws(
    () => new NewArchive(join(place, 'before.tar')),
    (error) => isKind(error, 'already-exists'),
  );
  await using archive = new NewArchive(join(place, 'after.tar'));
  archive.create();
  symlinkSync('/nowhere', join(place, 'after.tar'));
  await assert.rejects(archive.commit(), (error) => isKind(error, 'already-exists'));
});

test('a directory that others can change is refused; root may link to another one', async () => {
  const real = directory('real');
  symlinkSync(real, join(base, 'roots'));
  symlinkSync(real, join(base, 'theirs'));
  lchownSync(join(base, 'theirs'), 1000, 1000);
  {
    await using archive = new NewArchive(join(base, 'roots/a.tar'));
    assert.ok(archive.partPath.startsWith(real));
  }
  const denied = (location: string): void =>
    assert.throws(
      () => new NewArchive(location),
      (error) => isKind(error, 'permission-denied'),
    );
  denied(join(base, 'theirs/a.tar'));
  chmodSync(real, 0o777);
  denied(join(real, 'a.tar'));
  chmodSync(real, 0o755);
  lchownSync(real, 1000, 0);
  denied(join(real, 'a.tar'));
  assert.deepEqual(readdirSync(real), []);
});

for (const location of ['a.tar', './a.tar', '/tmp/', '/tmp/..', '/tmp/.', '', '/tmp/a\0.tar', '/tmp/a\n.tar'])
  test(`${JSON.stringify(location)} is no location`, () => {
    assert.throws(
      () => new NewArchive(location),
      (error) => isKind(error, 'invalid-argument'),
    );
  });
