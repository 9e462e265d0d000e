/** What the scripts of hack/ say to a word that they do not know, before they install or change anything. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const scripts = ['bench', 'critest', 'down', 'node-e2e', 'runtime', 'up'];

for (const script of scripts)
  test(`hack/${script} names an argument that it does not know, and shows what it knows`, () => {
    const program = join(import.meta.dirname, '../../hack', script);
    const { status, stdout, stderr } = spawnSync(program, ['--no-such'], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.equal(stdout, '');
    const [first = '', ...usage] = stderr.split('\n');
    assert.equal(first, `${script}: unknown argument: --no-such`);
    assert.ok(usage.some((line) => line.includes(`hack/${script}`)));
  });
