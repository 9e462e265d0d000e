/** The suites of the runtime once more with crun, where the host's second cgroup hierarchy makes it refuse: in a mount namespace without it. */
import assert from 'node:assert/strict';
import { existsSync, globSync } from 'node:fs';
import { test } from 'node:test';
import { runCommand } from '../../src/linux/command.ts';

test('crun passes what the chosen runtime passes', { timeout: 180_000 }, async (context) => {
  if (!existsSync('/sys/fs/cgroup/unified/cgroup.procs')) {
    context.skip('this host is not a hybrid of cgroup v1 and v2: the suites run with crun by themselves');
    return;
  }
  const suites = globSync('oci-{monitor,exec,attach}.test.ts', { cwd: import.meta.dirname });
  assert.equal(suites.length, 3);
  const script = 'umount /sys/fs/cgroup/unified && exec "$@"';
  const argv = [
    'unshare',
    '-m',
    'sh',
    '-c',
    script,
    'sh',
    process.execPath,
    '--test',
    '--test-concurrency=1',
    ...suites,
  ];
  const env = { PATH: process.env['PATH'] ?? '', GANTRY_TEST_RUNTIME: 'crun' };
  const result = await runCommand(argv, { cwd: import.meta.dirname, env, timeoutMs: 170_000 });
  assert.equal(result.exitCode, 0, result.stdout.toString());
});
