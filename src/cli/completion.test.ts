import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completionScript, readShape } from './completion.ts';
import { buildProgram } from './program.ts';

test('every command and option is in every shell’s script', async () => {
  const shape = readShape(await buildProgram());
  assert.ok(shape.length >= 15);
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const script = completionScript(shell, shape);
    for (const { name, options } of shape) {
      assert.match(script, new RegExp(`\\b${name}\\b`));
      for (const { flags } of options)
        for (const flag of flags)
          assert.ok(script.includes(flag.replace(/^-+/, '')), `${shell}: ${name} ${flag}`);
    }
  }
});
