import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ErrorKind } from '../../lib/errors.ts';
import { openArchive } from './open-archive.ts';

const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-open-')));
after(() => rmSync(base, { recursive: true }));
const folder = join(base, 'allowed');
mkdirSync(join(folder, 'below'), { recursive: true });
for (const file of ['allowed/a.tar', 'allowed/below/b.tar', 'allowed/..c.tar', 'secret.tar'])
  writeFileSync(join(base, file), file);
symlinkSync(join(base, 'secret.tar'), join(folder, 'link.tar'));
symlinkSync('a.tar', join(folder, 'within.tar'));
symlinkSync(base, join(folder, 'out'));

function open(path: string, directories: readonly string[] = [join(base, 'other'), folder]): string {
  const fd = openArchive(directories, path);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

test('an archive in one of the folders, or below', () => {
  assert.equal(open(join(folder, 'a.tar')), 'allowed/a.tar');
  assert.equal(open(join(folder, 'below/b.tar')), 'allowed/below/b.tar');
  assert.equal(open(`${folder}/below/../a.tar`), 'allowed/a.tar');
  assert.equal(open(join(folder, '..c.tar')), 'allowed/..c.tar');
});

const refusals: readonly (readonly [path: string, kind: ErrorKind])[] = [
  [join(base, 'secret.tar'), 'permission-denied'],
  [`${folder}/../secret.tar`, 'permission-denied'],
  [`${folder}-beside/a.tar`, 'permission-denied'],
  ['/etc/shadow', 'permission-denied'],
  [join(folder, 'link.tar'), 'permission-denied'],
  [join(folder, 'within.tar'), 'permission-denied'],
  [join(folder, 'out/secret.tar'), 'permission-denied'],
  [join(folder, 'absent.tar'), 'not-found'],
];

for (const [path, kind] of refusals)
  test(`${path.slice(base.length)}: ${kind}`, () => {
    assert.throws(() => open(path), { kind });
  });

test('without a folder nothing is opened', () => {
  assert.throws(() => open(join(folder, 'a.tar'), []), { kind: 'permission-denied' });
});
