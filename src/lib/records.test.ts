import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { isKind } from './errors.ts';
import { RecordDatabase, type Versioned } from './records.ts';

interface Thing extends Versioned {
  readonly text: string;
}

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'records-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('records outlive the database object', (t) => {
  const path = join(directory(t), 'state.db');
  {
    using database = RecordDatabase.open(path);
    const things = database.collection<string, Thing>('things', 1);
    things.put('a', { version: 1, text: 'one' });
    things.put('a', { version: 1, text: 'two' });
    things.put('b', { version: 1, text: 'three' });
    things.delete('b');
    things.delete('never there');
  }
  using database = RecordDatabase.open(path);
  const things = database.collection<string, Thing>('things', 1);
  assert.deepEqual([...things.entries()], [['a', { version: 1, text: 'two' }]]);
  assert.equal(database.setAside, undefined);
});

test('one bad record (containerd#6095, containerd#3873): it is named, left on disk, and the others are read', (t) => {
  const path = join(directory(t), 'state.db');
  {
    using database = RecordDatabase.open(path);
    database
      .collection<string, Thing>('things', 7)
      .put('newer', { version: 7, text: 'from a later release' });
  }
  const raw = new DatabaseSync(path);
  raw.exec("INSERT INTO things VALUES ('garbage', 'no json'), ('list', '[]')");
  raw.close();
  {
    using database = RecordDatabase.open(path);
    assert.equal(database.collection<string, Thing>('things', 1).size, 0);
    assert.deepEqual(database.rejected.map(({ id }) => id).toSorted(), ['garbage', 'list', 'newer']);
    assert.match(database.rejected.find(({ id }) => id === 'newer')?.reason ?? '', /version 7.*version 1/);
  }
  using database = RecordDatabase.open(path);
  assert.equal(database.collection<string, Thing>('things', 7).get('newer')?.text, 'from a later release');
});

test('containerd#11295: a corrupt file is set aside and a new one begun', (t) => {
  const folder = directory(t);
  const path = join(folder, 'state.db');
  writeFileSync(path, 'this is not a database, and long enough to be seen as none'.repeat(100));
  using database = RecordDatabase.open(path, { nowMs: 42 });
  assert.equal(database.setAside, `${path}.corrupt-42`);
  assert.ok(readdirSync(folder).includes('state.db.corrupt-42'));
  database.collection<string, Thing>('things', 1).put('a', { version: 1, text: 'works' });
});

test('a page damaged in the middle is found at open', (t) => {
  const path = join(directory(t), 'state.db');
  {
    using database = RecordDatabase.open(path);
    const things = database.collection<string, Thing>('things', 1);
    for (let index = 0; index < 2000; index += 1)
      things.put(`id-${index}`, { version: 1, text: 'x'.repeat(100) });
  }
  const raw = new DatabaseSync(path);
  raw.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  raw.close();
  writeFileSync(path, Buffer.alloc(4096 * 8, 0xa5), { flag: 'r+' });
  using database = RecordDatabase.open(path, { nowMs: 43 });
  assert.equal(database.setAside, `${path}.corrupt-43`);
});

test('a write that the disk refuses changes nothing in memory', (t) => {
  const path = join(directory(t), 'state.db');
  using database = RecordDatabase.open(path);
  const things = database.collection<string, Thing>('things', 1);
  things.put('a', { version: 1, text: 'before' });
  const other = new DatabaseSync(path);
  other.exec('BEGIN IMMEDIATE');
  assert.throws(
    () => things.put('a', { version: 1, text: 'after' }),
    (error) => isKind(error, 'internal'),
  );
  assert.throws(
    () => things.delete('a'),
    (error) => isKind(error, 'internal'),
  );
  other.exec('ROLLBACK');
  other.close();
  assert.equal(things.get('a')?.text, 'before');
});

test('a corrupt database is rebuilt from the copies of its rows, also of those that this release cannot read', (t) => {
  const folder = directory(t);
  const path = join(folder, 'state.db');
  const copies = join(folder, 'copies');
  {
    using database = RecordDatabase.open(path, { copies });
    const things = database.collection<string, Thing>('things', 1);
    things.put('sha256:a/b', { version: 1, text: 'one' });
    things.put('sha256:a/b', { version: 1, text: 'two' });
    things.put('newer', { version: 2, text: 'from a later release' });
    things.put('gone', { version: 1, text: 'three' });
    things.delete('gone');
  }
  writeFileSync(path, 'this is not a database, and long enough to be seen as none'.repeat(100));
  for (let round = 0; round < 2; round += 1) {
    using database = RecordDatabase.open(path, { copies, nowMs: 44 });
    assert.equal(database.setAside, round === 0 ? `${path}.corrupt-44` : undefined);
    const things = database.collection<string, Thing>('things', 1);
    assert.deepEqual([...things.entries()], [['sha256:a/b', { version: 1, text: 'two' }]]);
    assert.deepEqual(
      database.rejected.map(({ id }) => id),
      ['newer'],
    );
  }
});

test('copies that are gone or too many are put right at open', (t) => {
  const folder = directory(t);
  const path = join(folder, 'state.db');
  const copies = join(folder, 'copies');
  {
    using database = RecordDatabase.open(path);
    database.collection<string, Thing>('things', 1).put('a', { version: 1, text: 'one' });
  }
  {
    using database = RecordDatabase.open(path, { copies });
    database.collection<string, Thing>('things', 1);
    assert.deepEqual(readdirSync(join(copies, 'things')), ['a.json']);
  }
  writeFileSync(join(copies, 'things', 'stray.json'), '{"version": 1}');
  using database = RecordDatabase.open(path, { copies });
  database.collection<string, Thing>('things', 1);
  assert.deepEqual(readdirSync(join(copies, 'things')), ['a.json']);
});
