import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { Poller } from '../linux/poll.ts';
import { freezeContainer } from './checkpoint.ts';
import type { RuntimeDeps } from './runtime-call.ts';
import { shellRuntime } from './testing/shell-runtime.ts';

const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

/** A runtime that says this for so many calls before it succeeds, and counts all of them in a file. */
function failing(t: TestContext, times: number, message: string): { deps: RuntimeDeps; calls: () => number } {
  const deps = shellRuntime(
    t,
    poller,
    `echo >>calls; [ $(wc -l <calls) -gt ${times} ] || { echo '${message}' >&2; exit 1; }`,
  );
  return { deps, calls: () => readFileSync(join(deps.runtime.root, 'calls'), 'utf8').length };
}

test('a container that does not freeze in the time of runc is frozen by the next attempt', async (t) => {
  const { deps, calls } = failing(t, 2, 'unable to freeze');
  await freezeContainer(deps, { id: 'c' });
  assert.equal(calls(), 3);
});

test('one that never freezes fails, and so does any other failure at once', async (t) => {
  const never = failing(t, 100, 'unable to freeze');
  await assert.rejects(freezeContainer(never.deps, { id: 'c' }), /pause container c: unable to freeze/);
  assert.equal(never.calls(), 5);
  const gone = failing(t, 100, 'container not running');
  await assert.rejects(freezeContainer(gone.deps, { id: 'c' }), /pause container c: container not running/);
  assert.equal(gone.calls(), 1);
});
