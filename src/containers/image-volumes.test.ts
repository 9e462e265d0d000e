import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uncoveredVolumes } from './image-volumes.ts';

const rows: readonly [what: string, declared: string[], mounted: string[], expected: string[]][] = [
  ['none', [], [], []],
  ['each once, made plain', ['/data', '/data/', '//data/.', '/log'], [], ['/data', '/log']],
  ['a mount at the same place wins', ['/data', '/log'], ['/data/'], ['/log']],
  ['what lies below a mount goes into it', ['/var/lib/db/data'], ['/var/lib/db'], []],
  ['a mount below does not cover', ['/data'], ['/data/cache'], ['/data']],
  ['a name that only begins alike does not cover', ['/database'], ['/data'], ['/database']],
  ['relative paths begin at the root', ['data'], [], ['/data']],
  ['CVE-2022-23648: .. ends at the root', ['/../../etc', '../../srv'], [], ['/etc', '/srv']],
  ['the kernel’s trees are not for images', ['/proc', '/sys/fs', '/dev', '/devices'], [], ['/devices']],
];

for (const [what, declared, mounted, expected] of rows) {
  test(`image volumes: ${what}`, () => assert.deepEqual(uncoveredVolumes(declared, mounted), expected));
}

test('image volumes: the root, a zero byte and too many are refused', () => {
  for (const bad of ['/', '', '/..', 'a\0b']) {
    assert.throws(() => uncoveredVolumes([bad], []), { kind: 'invalid-argument' }, JSON.stringify(bad));
  }
  const many = Array.from({ length: 129 }, (_, index) => `/v${index}`);
  assert.throws(() => uncoveredVolumes(many, []), { kind: 'invalid-argument', message: /129/ });
});
