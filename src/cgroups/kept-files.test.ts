import assert from 'node:assert/strict';
import { mkdtempDisposableSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KeptFiles } from './kept-files.ts';

/** Of this process, below a directory. */
function openBelow(directory: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
    } catch {
      return false;
    }
  }).length;
}

test('a file is opened once for its owner and read anew, until it is closed', () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-kept-files-'));
  using files = new KeptFiles(10);
  const write = (text: string): void => writeFileSync(join(directory.path, 'pids.current'), text);
  const read = (owner: string): string | undefined => files.readText(owner, directory.path, 'pids.current');
  write('1\n');
  assert.equal(read('pod'), '1');
  write('22\n');
  assert.equal(read('pod'), '22');
  assert.equal(read('container'), '22');
  assert.equal(openBelow(directory.path), 2);
  files.close('pod');
  files.close('pod');
  assert.equal(openBelow(directory.path), 1);
  assert.equal(read('pod'), '22');
  files[Symbol.dispose]();
  assert.equal(openBelow(directory.path), 0);
});

test('what is not there is no text, and is found when it comes', () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-kept-files-'));
  using files = new KeptFiles(10);
  assert.equal(files.readText('pod', undefined, 'x'), undefined);
  assert.equal(files.readText('pod', directory.path, 'x'), undefined);
  writeFileSync(join(directory.path, 'x'), 'there');
  assert.equal(files.readText('pod', directory.path, 'x'), 'there');
});

test('beyond the limit files are read and closed', () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-kept-files-'));
  using files = new KeptFiles(2);
  for (const name of ['a', 'b', 'c', 'd']) {
    writeFileSync(join(directory.path, name), name);
    assert.equal(files.readText('pod', directory.path, name), name);
  }
  assert.equal(openBelow(directory.path), 2);
  files.close('pod');
  assert.equal(files.readText('pod', directory.path, 'd'), 'd');
  assert.equal(openBelow(directory.path), 1);
});
