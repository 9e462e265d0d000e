import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgePrograms } from './judge-programs.ts';
import type { ProgramFacts } from './program-facts.ts';

function program(name: string, version: string | undefined, owner?: ProgramFacts['package']): ProgramFacts {
  return { name, path: version === undefined ? undefined : `/usr/bin/${name}`, version, package: owner };
}

function verdictOf(facts: readonly ProgramFacts[], subject: string): string | undefined {
  return judgePrograms(facts).find((finding) => finding.subject === subject)?.verdict;
}

test('runc: CVE-2025-31133 and its kind are warned about below 1.2.8 and 1.3.3', () => {
  const subject = 'runc CVE-2025-31133';
  for (const version of ['1.1.15', '1.2.7', '1.3.2'])
    assert.equal(verdictOf([program('runc', version)], subject), 'warning');
  for (const version of ['1.2.8', '1.3.3', '1.4.0', '1.5.1'])
    assert.equal(verdictOf([program('runc', version)], subject), undefined);
});

test('runc: CVE-2024-21626, CVE-2021-30465 and CVE-2023-25809 are warned about in old versions', () => {
  assert.equal(verdictOf([program('runc', '1.1.11')], 'runc CVE-2024-21626'), 'warning');
  assert.equal(verdictOf([program('runc', '1.1.12')], 'runc CVE-2024-21626'), undefined);
  assert.equal(verdictOf([program('runc', '1.0.0-rc94')], 'runc CVE-2021-30465'), 'warning');
  assert.equal(verdictOf([program('runc', '1.1.4')], 'runc CVE-2023-25809'), 'warning');
});

test('crun: CVE-2022-27650 is a warning, CVE-2026-88264 only a note: containers have a /dev of their own', () => {
  assert.equal(verdictOf([program('crun', '1.4.3')], 'crun CVE-2022-27650'), 'warning');
  assert.equal(verdictOf([program('crun', '1.29.1')], 'crun CVE-2026-88264'), 'note');
  assert.equal(verdictOf([program('runc', '1.3.5')], 'runc CVE-2026-41579'), 'note');
});

test('a revision whose changelog names the CVE has its fix under the old number', () => {
  const cves = new Set(['CVE-2024-21626', 'CVE-2023-25809']);
  const owner = { name: 'runc', revision: '1.1.5+ds1-1+deb12u1', cves };
  const findings = judgePrograms([program('runc', '1.1.5+ds1', owner)]);
  const textOf = (subject: string): string => findings.find((one) => one.subject === subject)?.text ?? '';
  assert.equal(verdictOf([program('runc', '1.1.5+ds1', owner)], 'runc CVE-2024-21626'), 'ok');
  assert.match(textOf('runc CVE-2024-21626'), /1\.1\.5\+ds1-1\+deb12u1 has the fix/);
  assert.match(textOf('runc CVE-2025-31133'), /does not name it: apt-get install --only-upgrade runc/);
});

test('a revision without its changelog is not judged by the number alone', () => {
  const owner = { name: 'runc', revision: '1.1.5+ds1-1+deb12u1', cves: undefined };
  const [, finding] = judgePrograms([program('runc', '1.1.5+ds1', owner)]);
  assert.match(
    finding?.text ?? '',
    /changelog of 1\.1\.5\+ds1-1\+deb12u1 is not installed.*security-tracker\.debian\.org/,
  );
});

test('what is missing says what fails and how to get it', () => {
  assert.equal(verdictOf([program('crun', undefined), program('runc', undefined)], 'OCI runtime'), 'problem');
  assert.equal(verdictOf([program('crun', undefined), program('runc', '1.4.3')], 'OCI runtime'), undefined);
  assert.equal(verdictOf([program('crun', undefined), program('runc', '1.4.3')], 'crun'), 'note');
  assert.deepEqual(
    judgePrograms([program('runc', '1.4.3'), program('conmon', undefined)]).find(
      ({ subject }) => subject === 'conmon',
    ),
    {
      area: 'programs',
      subject: 'conmon',
      verdict: 'problem',
      text: 'not installed: no container can be started; apt-get install conmon',
    },
  );
});
