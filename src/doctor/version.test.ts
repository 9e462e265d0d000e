import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVersion } from './program-facts.ts';
import { compareVersions, hasFix } from './version.ts';

test('versions are compared by their numbers', () => {
  const ascending = [
    '1.0.0-rc95',
    '1.0.0',
    '1.1.5+ds1',
    '1.1.12',
    '1.2',
    '1.2.8',
    '6.1.0-18-amd64',
    '6.12.1',
  ];
  for (const [index, version] of ascending.entries())
    for (const newer of ascending.slice(index + 1)) {
      assert.ok(compareVersions(version, newer) < 0, `${version} < ${newer}`);
      assert.ok(compareVersions(newer, version) > 0, `${newer} > ${version}`);
    }
  assert.equal(compareVersions('v1.2.0', '1.2'), 0);
});

test('a fix counts within its series, and everything newer than the last has it', () => {
  const fixedIn = ['1.2.8', '1.3.3', '1.4.0'];
  const cases: readonly (readonly [string, boolean])[] = [
    ['1.1.15', false],
    ['1.2.7', false],
    ['1.2.8', true],
    ['1.3.2', false],
    ['1.3.10', true],
    ['1.4.0-rc.1', false],
    ['1.4.0', true],
    ['2.0.0', true],
  ];
  for (const [version, expected] of cases) assert.equal(hasFix(version, fixedIn), expected, version);
});

test('the version is found in what programs print', () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ['crun version 1.8.1\ncommit: f8a0\n', '1.8.1'],
    ['runc version 1.1.5+ds1\nspec: 1.0.2-dev\n', '1.1.5+ds1'],
    ['nftables v1.0.6 (Lester Gooch #5)', '1.0.6'],
    ['iptables v1.8.9 (nf_tables)', '1.8.9'],
    ['no number', undefined],
  ];
  for (const [output, expected] of cases) assert.equal(parseVersion(output), expected);
});
