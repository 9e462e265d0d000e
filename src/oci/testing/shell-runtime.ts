import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Poller } from '../../linux/poll.ts';
import type { RuntimeDeps } from '../runtime-call.ts';

/** A runtime whose every command is this line of shell, run in `runtime.root`, which is a directory of its own until the test ends. */
export function shellRuntime(t: TestContext, poller: Poller, script: string): RuntimeDeps {
  const root = mkdtempSync(join(tmpdir(), 'gantry-runtime-'));
  const path = join(root, 'runtime');
  writeFileSync(path, `#!/bin/sh\ncd ${root}\n${script}\n`, { mode: 0o755 });
  t.after(() => rmSync(root, { recursive: true }));
  return {
    poller,
    runtime: { name: 'fake', path, kind: 'other', version: '1', root, systemdCgroup: false },
  };
}
