import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { newSandboxId } from '../lib/ids.ts';
import { Poller } from '../linux/poll.ts';
import { createPidHolder } from './pid-holder.ts';
import type { Sandbox } from './sandbox.ts';

test('a runtime killed while it deletes: a second stop deletes what the first one could not', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-holder-'));
  const poller = new Poller();
  t.after(async () => {
    await poller[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });
  const calls = join(directory, 'calls');
  const path = join(directory, 'runtime');
  const script = `[ -e ${calls} ] || killed=1\necho "$@" >> ${calls}\n[ -z "$killed" ] || kill -9 $$`;
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const id = newSandboxId();
  const root = join(directory, 'root');
  mkdirSync(join(root, id), { recursive: true });
  const forgotten: string[] = [];
  const holder = createPidHolder({
    stateDirectory: join(directory, 'state'),
    program: () => '/usr/bin/catatonit',
    monitorDeps: () => ({
      poller,
      runtime: { name: 'fake', path, kind: 'other', version: '1', root, systemdCgroup: false },
      conmon: {
        path: '',
        exitDirectory: directory,
        socketDirectory: directory,
        place: async () => undefined,
      },
    }),
    cgroupsPathFor: () => '/',
    watchExit: () => undefined,
    forgetExit: (sandbox) => void forgotten.push(sandbox),
  });
  const sandbox = { id, runtimeHandler: 'fake', state: { name: 'creating' } } as Sandbox;
  // The pod's files are gone by then: a teardown goes on after a step that failed.
  await assert.rejects(holder.stop(sandbox), /exit code 137/);
  await holder.stop(sandbox);
  assert.equal(existsSync(join(root, id)), false);
  assert.deepEqual(forgotten, [id]);
  await holder.stop(sandbox);
  assert.equal(
    readFileSync(calls, 'utf8').trim().split('\n').length,
    2,
    'nothing is asked when nothing is left',
  );
});
