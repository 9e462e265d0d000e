import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Poller } from '../linux/poll.ts';
import type { RuntimeDeps } from './runtime-call.ts';
import { deleteContainer } from './runtime.ts';
import { shellRuntime } from './testing/shell-runtime.ts';

const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

/** Without --force it refuses what has not ended, as the OCI runtime specification wants. */
const refusing =
  'echo "$@" >>calls; case "$*" in *--force*) ;; *) echo "c is not stopped" >&2; exit 1 ;; esac';
const willing = 'echo "$@" >>calls';
const unknowing = 'echo "$@" >>calls; echo "container does not exist" >&2; exit 1';

for (const [what, script, hasEnded, calls] of [
  ['a container that has ended is deleted without force', willing, true, ['delete c']],
  [
    'when the runtime thinks that it has not ended, its processes are killed after all',
    refusing,
    true,
    ['delete c', 'delete --force c'],
  ],
  ['any other is deleted by force at once', refusing, false, ['delete --force c']],
  ['one that the runtime does not know is asked for once', unknowing, true, ['delete c']],
] as const)
  test(what, async (t) => {
    const deps = shellRuntime(t, poller, script);
    await deleteContainer(deps, { id: 'c', hasEnded });
    assert.deepEqual(callsOf(deps), calls);
  });

test('what the runtime refuses with force too is an error', async (t) => {
  const deps = shellRuntime(t, poller, 'echo "device or resource busy" >&2; exit 1');
  await assert.rejects(
    deleteContainer(deps, { id: 'c', hasEnded: true }),
    /delete container c: .*device or resource busy/,
  );
});

/** What it was asked for, after the flags that every call has. */
function callsOf({ runtime: { root } }: RuntimeDeps): string[] {
  return readFileSync(join(root, 'calls'), 'utf8')
    .trim()
    .split('\n')
    .map((call) => call.replace(/^--root=\S+ /, ''));
}
