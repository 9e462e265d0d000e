import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { spawnProcess } from '../linux/command.ts';
import { Poller } from '../linux/poll.ts';
import type { Container } from './container.ts';
import { createRuntimes, type RuntimesOptions } from './runtimes.ts';

test('deleting a container that has a monitor waits until that has written its last', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-runtimes-'));
  const poller = new Poller();
  t.after(async () => {
    await poller[Symbol.asyncDispose]();
    rmSync(root, { recursive: true });
  });
  const script = `sleep 0.3; touch ${root}/exit`;
  const child = spawnProcess(['sh', '-c', script], {
    fds: new Map(),
    env: { PATH: '/usr/bin:/bin' },
    newSession: true,
    poller,
  });
  const monitor = { pid: child.pid, startTicks: String(child.startTicks) };
  const runtime = {
    name: 'fake',
    path: '/bin/true',
    kind: 'other',
    version: '1',
    root,
    systemdCgroup: false,
  };
  const runtimes = createRuntimes({
    poller,
    handlers: new Map([['fake', runtime]]),
  } as unknown as RuntimesOptions);
  const state = { name: 'created', processes: { process: monitor, monitor } };
  await runtimes.delete({ id: 'c', runtimeHandler: 'fake', state } as unknown as Container);
  assert.ok(existsSync(`${root}/exit`));
});
