import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { EngineError, messageOf } from '../lib/errors.ts';
import { Poller } from '../linux/poll.ts';
import type { RuntimeDeps } from '../oci/runtime-call.ts';
import type { LimitChange } from './runtimes.ts';
import { updateByRuntime } from './update-by-runtime.ts';

interface FakeRuntime {
  readonly refuses: number;
  readonly kind?: 'crun' | 'runc';
  readonly version?: string;
  readonly systemdCgroup?: boolean;
}

/** A runtime that notes what it is told, and refuses the first updates. */
function node(
  t: TestContext,
  { refuses, kind = 'runc', version = '1.1', systemdCgroup = false }: FakeRuntime,
) {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-update-'));
  const poller = new Poller();
  t.after(async () => {
    await poller[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });
  const path = join(directory, 'runtime');
  const script = `#!/bin/sh
cat >>${directory}/told; echo >>${directory}/told
echo x >>${directory}/calls
[ $(wc -l <${directory}/calls) -gt ${refuses} ] || { echo device or resource busy >&2; exit 1; }
`;
  writeFileSync(path, script, { mode: 0o755 });
  const runtime = { name: 'fake', path, kind, version, root: directory, systemdCgroup };
  const told = (): unknown[] => {
    if (!existsSync(join(directory, 'told'))) return [];
    return readFileSync(join(directory, 'told'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  };
  return { deps: { runtime, poller } as RuntimeDeps, told };
}

const change: LimitChange = {
  before: { cpu: { quota: 5000 }, memory: { limit: 100 }, hugepageLimits: [{ pageSize: '2MB', limit: 1 }] },
  after: {
    cpu: { quota: 9000, shares: 2, cpus: '0' },
    memory: { limit: 200, swap: 300 },
    hugepageLimits: [{ pageSize: '2MB', limit: 2 }],
    pids: { limit: 7 },
    unified: { 'memory.high': '5' },
  },
};
const liftCpuQuota = async (): Promise<void> => assert.fail('the runtime does it');
const restored = {
  cpu: { shares: 1024, quota: 5000 },
  memory: { limit: 100, swap: -1 },
  hugepageLimits: [{ pageSize: '2MB', limit: 1 }],
  pids: { limit: -1 },
};

test('what was refused in part is taken back: by the runtime as far as it can be told, and in the files', async (t) => {
  const { deps, told } = node(t, { refuses: 1 });
  let isBack = false;
  const putBack = async (): Promise<void> => void (isBack = true);
  await assert.rejects(
    updateByRuntime(deps, { id: 'c', change, cgroupVersion: 'v1', putBack, liftCpuQuota }),
    /busy/,
  );
  assert.deepEqual([told(), isBack], [[change.after, restored], true]);
});

for (const [version, shares] of [
  ['1.1.5', 2598],
  ['1.3.2', 1024],
] as const)
  test(`an update is undone when its caller wants so; with cgroup v2 runc ${version} makes ${shares} shares a weight of 100`, async (t) => {
    const { deps, told } = node(t, { refuses: 0, version });
    let isBack = false;
    const putBack = async (): Promise<void> => void (isBack = true);
    const undo = await updateByRuntime(deps, { id: 'c', change, cgroupVersion: 'v2', putBack, liftCpuQuota });
    assert.deepEqual([told(), isBack], [[change.after], false]);
    await undo();
    const cpu = { shares, quota: 5000 };
    assert.deepEqual([told(), isBack], [[change.after, { ...restored, cpu }], true]);
  });

for (const systemdCgroup of [false, true])
  test(`a runtime that fails again: the files are put back, and ${systemdCgroup ? 'systemd was not told' : 'they are all that counts'}`, async (t) => {
    const { deps } = node(t, { refuses: 2, systemdCgroup });
    let isBack = false;
    const putBack = async (): Promise<void> => void (isBack = true);
    const refused = updateByRuntime(deps, { id: 'c', change, cgroupVersion: 'v1', putBack, liftCpuQuota });
    const error = await refused.catch((reason: unknown) => reason);
    assert.equal(messageOf(EngineError.from(error)).includes('and undoing it failed'), systemdCgroup);
    assert.ok(isBack);
  });

const unlimited: LimitChange = { before: { cpu: { quota: 5000 } }, after: { cpu: { quota: -1, shares: 2 } } };
const putBack = async (): Promise<void> => undefined;

test('crun is not told to take a quota away with cgroup v1: that is written for it', async (t) => {
  const { deps, told } = node(t, { refuses: 0, kind: 'crun' });
  let lifted = 0;
  const lift = async (): Promise<void> => void (lifted += 1);
  const update = { id: 'c', cgroupVersion: 'v1', putBack, liftCpuQuota: lift } as const;
  const undo = await updateByRuntime(deps, { ...update, change: unlimited });
  assert.deepEqual([told(), lifted], [[{ cpu: { shares: 2 } }], 1]);
  await undo();
  assert.deepEqual(told()[1], { cpu: { shares: 1024, quota: 5000 } });
  await updateByRuntime(deps, { ...update, change: { before: unlimited.after, after: unlimited.after } });
  assert.deepEqual([told()[2], lifted], [{ cpu: { shares: 2 } }, 1]);
});

for (const [what, runtime, cgroupVersion] of [
  ['runc', { refuses: 0 }, 'v1'],
  ['crun with cgroup v2', { refuses: 0, kind: 'crun' }, 'v2'],
  ['crun under systemd, which has to know', { refuses: 0, kind: 'crun', systemdCgroup: true }, 'v1'],
] as const)
  test(`a quota is taken away by ${what}`, async (t) => {
    const { deps, told } = node(t, runtime);
    await updateByRuntime(deps, { id: 'c', change: unlimited, cgroupVersion, putBack, liftCpuQuota });
    assert.deepEqual(told(), [unlimited.after]);
  });
