/** hack/conformance's second half: a command line that means no run is refused, for nothing would have failed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

for (const [args, words] of [
  [['--seeds', '0'], /--seeds is 0: it must be a number from 1 to 99/],
  [['--seeds', 'x'], /--seeds is x: it must be/],
  [['--runtimes', ''], /--runtimes is : there is no runtime without a name/],
  [['--runtimes', 'crun,'], /there is no runtime without a name/],
  [['moon'], /no kind of host is called moon \(node, vm\)/],
  [['--orders', '1'], /Unknown option '--orders'/],
] as const) {
  test(`${args.join(' ')} is refused with exit code 2`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['hack/lib/critest/matrix.ts', ...args], {
      cwd: root,
      encoding: 'utf8',
    });
    assert.equal(status, 2, stderr);
    assert.match(stderr, words);
    assert.doesNotMatch(stderr, /\n\s+at /, 'a message, no stack');
    assert.equal(stdout, '');
  });
}
