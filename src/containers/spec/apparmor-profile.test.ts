import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { runCommand } from '../../linux/command.ts';
import { installedProgram } from '../../linux/program.ts';
import { defaultApparmorProfileText } from './apparmor-profile.ts';
import { parseLoadedProfiles } from './apparmor.ts';

test('AppArmor: the profile is as recorded', (t: TestContext) => {
  const serializers = [(value: string) => value];
  t.assert.fileSnapshot(defaultApparmorProfileText(), 'test/golden/spec/apparmor-profile.txt', {
    serializers,
  });
});

test('AppArmor: the parser takes the profile', async (t: TestContext) => {
  if (installedProgram('apparmor_parser') === undefined) return t.skip('apparmor_parser is not installed');
  const argv = ['apparmor_parser', '--skip-kernel-load', '--skip-cache'];
  const result = await runCommand(argv, { input: defaultApparmorProfileText() });
  assert.deepEqual([result.exitCode, result.signal], [0, undefined], result.stderr);
});

test('AppArmor: loaded profiles are read from the kernel’s list', () => {
  const text = 'cri-gantry.apparmor.d (enforce)\n/usr/bin/man (complain)\nname with (parens) (kill)\n';
  const names = ['cri-gantry.apparmor.d', '/usr/bin/man', 'name with (parens)'];
  assert.deepEqual([...parseLoadedProfiles(text)], names);
});
