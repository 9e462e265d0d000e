/** The completion script of bash, run by bash. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { completionScript, readShape } from '../../src/cli/completion.ts';
import { buildProgram } from '../../src/cli/program.ts';

test('bash completes commands, options and names', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-completion-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const script = join(directory, 'gantry.bash');
  writeFileSync(script, completionScript('bash', readShape(await buildProgram())));
  const complete = (...words: readonly string[]): string[] => {
    const program = `. ${script}; gantry() { [ "$1" = containers ] && echo web db; }
      COMP_WORDS=(gantry ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _gantry
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', program], { encoding: 'utf8' }).trim().split('\n');
  };
  assert.deepEqual(complete('pu'), ['pull']);
  assert.deepEqual(complete('logs', '--fo'), ['--follow']);
  assert.deepEqual(complete('--socket=/x', 'exec', ''), ['web', 'db']);
  assert.deepEqual(complete('completion', 'z'), ['zsh']);
});
