import assert from 'node:assert/strict';
import { fstatSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { sampleSandboxRecord } from '../containers/testing/sample-records.ts';
import { temporaryDatabase } from '../lib/testing/temporary-database.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { PodInterfaces } from './pod-interfaces.ts';

type ReadyState = Extract<Sandbox['state'], { readonly name: 'ready' }>;

function readyPod(namespaces: ReadyState['namespaces'] = { net: '/pinned' }): Sandbox {
  return sampleSandboxRecord({ state: { name: 'ready', ips: [], namespaces } });
}

/** Stands for the file of the kernel. */
function counterFile(t: TestContext): string {
  const path = join(temporaryDatabase(t).directory, 'dev');
  writeFileSync(path, '  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n');
  return path;
}

test('a pod’s file is opened once, and read anew each time', async (t) => {
  const path = counterFile(t);
  let opened = 0;
  using interfaces = new PodInterfaces(async (netns, name) => {
    assert.deepEqual([netns, name], ['/pinned', '/proc/net/dev']);
    opened += 1;
    return openSync(path, 'r');
  });
  const pod = readyPod();
  const [one, other] = await Promise.all([interfaces.read(pod), interfaces.read(pod)]);
  assert.deepEqual(one, other);
  assert.deepEqual(
    one.map(({ name, sentBytes }) => [name, sentBytes]),
    [['eth0', 5n]],
  );
  writeFileSync(path, '  eth0: 1 2 3 4 0 0 0 0 6 6 7 8 0 0 0 0\n');
  assert.equal((await interfaces.read(pod))[0]?.sentBytes, 6n);
  assert.equal(opened, 1);
});

test('a pod in the node’s network, and one that is not ready, have none', async () => {
  using interfaces = new PodInterfaces(async () => assert.fail('nothing is to be opened'));
  assert.deepEqual(await interfaces.read(readyPod({})), []);
  assert.deepEqual(
    await interfaces.read(sampleSandboxRecord({ state: { name: 'not-ready', stoppedAtMs: 1 } })),
    [],
  );
  assert.deepEqual(
    await interfaces.read(sampleSandboxRecord({ state: { name: 'unknown', reason: 'busy' } })),
    [],
  );
});

test('a namespace that cannot be entered is tried again', async (t) => {
  const path = counterFile(t);
  let attempts = 0;
  using interfaces = new PodInterfaces(async () => {
    attempts += 1;
    if (attempts === 1) throw new Error('no thread');
    return openSync(path, 'r');
  });
  const pod = readyPod();
  assert.deepEqual(await Promise.all([interfaces.read(pod), interfaces.read(pod)]), [[], []]);
  assert.equal((await interfaces.read(pod)).length, 1);
});

test('what is opened after a pod was released is closed and not read', async (t) => {
  const path = counterFile(t);
  const opening = Promise.withResolvers<number>();
  using interfaces = new PodInterfaces(async () => await opening.promise);
  const pod = readyPod();
  const reading = interfaces.read(pod);
  interfaces.release(pod.id);
  const fd = openSync(path, 'r');
  opening.resolve(fd);
  assert.deepEqual(await reading, []);
  assert.throws(() => fstatSync(fd), { code: 'EBADF' });
  interfaces.release(pod.id);
});
