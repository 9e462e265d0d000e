import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Container,
  ContainerAdjustment,
  ContainerUpdate,
  type DeepPartial,
} from '../../gen/nri/v1alpha1/api.ts';
import { isKind } from '../../lib/errors.ts';
import { emptyAdjustment, mergeAdjustment, type CollectedAdjustment } from './adjustment.ts';
import { Owners, ownersToWire } from './owners.ts';
import { CollectedUpdates } from './updates.ts';

const container = (): Container =>
  Container.fromPartial({
    id: 'c1',
    annotations: { kept: '1', changed: 'old' },
    args: ['run'],
    env: ['PATH=/bin', 'MODE=a=b'],
    mounts: [{ destination: '/data', type: 'bind', source: '/srv', options: ['ro'] }],
  });

/** What comes out when the plugins ask for these, one after the other. */
function merged(...asked: readonly DeepPartial<ContainerAdjustment>[]): CollectedAdjustment {
  const collected = emptyAdjustment(container(), new Owners());
  for (const [index, adjustment] of asked.entries())
    mergeAdjustment(collected, ContainerAdjustment.fromPartial(adjustment), `0${index}-plugin`);
  return collected;
}

test('the next plugin sees what those before it asked for', () => {
  const { container: seen, adjust } = merged({
    annotations: { changed: 'new', '-kept': '' },
    env: [
      { key: 'MODE', value: 'x' },
      { key: '-PATH', value: '' },
      { key: 'NEW', value: '1' },
    ],
    mounts: [{ destination: '-/data' }, { destination: '/more', type: 'tmpfs' }],
    args: ['other'],
    linux: {
      resources: { memory: { limit: { value: 5n } }, cpu: { cpus: '0-1' }, unified: { 'memory.high': '1' } },
    },
  });
  assert.deepEqual(seen.annotations, { changed: 'new' });
  assert.deepEqual(seen.env, ['MODE=x', 'NEW=1']);
  assert.deepEqual(
    seen.mounts.map(({ destination }) => destination),
    ['/more'],
  );
  assert.deepEqual(seen.args, ['other']);
  assert.equal(seen.linux?.resources?.memory?.limit?.value, 5n);
  assert.equal(seen.linux?.resources?.cpu?.cpus, '0-1');
  assert.deepEqual(adjust.annotations, { '-kept': '', changed: 'new' });
  assert.deepEqual(
    adjust.mounts.map(({ destination }) => destination),
    ['-/data', '/more'],
  );
  assert.deepEqual(adjust.linux?.resources?.unified, { 'memory.high': '1' });
});

/** Every field with one owner: two plugins that set it, and what the error names. */
const conflicts: readonly [string, DeepPartial<ContainerAdjustment>, RegExp][] = [
  ['annotations', { annotations: { a: '1' } }, /annotation "a"/],
  ['mounts', { mounts: [{ destination: '/m' }] }, /mount "\/m"/],
  ['env', { env: [{ key: 'E', value: '1' }] }, /environment variable "E"/],
  ['args', { args: ['x'] }, /args/],
  ['rlimits', { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1n, hard: 1n }] }, /rlimit "RLIMIT_NOFILE"/],
  ['CDI devices', { CDIDevices: [{ name: 'v.com/c=d' }] }, /CDI device "v.com\/c=d"/],
  ['devices', { linux: { devices: [{ path: '/dev/x', type: 'c' }] } }, /device "\/dev\/x"/],
  ['namespaces', { linux: { namespaces: [{ type: 'ipc' }] } }, /namespace "ipc"/],
  ['sysctl', { linux: { sysctl: { 'net.a': '1' } } }, /sysctl "net.a"/],
  ['network devices', { linux: { netDevices: { eth1: { name: 'x' } } } }, /network device "eth1"/],
  ['cgroups path', { linux: { cgroupsPath: '/a' } }, /cgroupsPath/],
  ['oom score', { linux: { oomScoreAdj: { value: 1n } } }, /oomScoreAdj/],
  ['io priority', { linux: { ioPriority: { class: 1 } } }, /ioPriority/],
  ['seccomp policy', { linux: { seccompPolicy: { defaultAction: 'SCMP_ACT_ALLOW' } } }, /seccompPolicy/],
  ['scheduler', { linux: { scheduler: { policy: 1 } } }, /scheduler/],
  ['memory policy', { linux: { memoryPolicy: { mode: 1 } } }, /memoryPolicy/],
  ['RDT', { linux: { rdt: { closId: { value: 'a' } } } }, /rdt.closId/],
  ['memory limit', { linux: { resources: { memory: { limit: { value: 1n } } } } }, /memory.limit/],
  ['CPU shares', { linux: { resources: { cpu: { shares: { value: 1n } } } } }, /cpu.shares/],
  ['cpuset', { linux: { resources: { cpu: { mems: '0' } } } }, /cpu.mems/],
  ['pids', { linux: { resources: { pids: { limit: 1n } } } }, /pids/],
  ['huge pages', { linux: { resources: { hugepageLimits: [{ pageSize: '2MB' }] } } }, /hugepage limit "2MB"/],
  ['unified', { linux: { resources: { unified: { 'memory.high': '1' } } } }, /unified file "memory.high"/],
  ['block I/O class', { linux: { resources: { blockioClass: { value: 'a' } } } }, /blockioClass/],
  ['RDT class', { linux: { resources: { rdtClass: { value: 'a' } } } }, /rdtClass/],
];

for (const [what, asked, named] of conflicts) {
  test(`two plugins that set the same are a conflict: ${what}`, () => {
    assert.throws(
      () => merged(asked, asked),
      (error) =>
        isKind(error, 'failed-precondition') &&
        named.test(String(error)) &&
        /00-plugin and 01-plugin/.test(String(error)),
    );
  });
}

test('a plugin that removes first what another has set may set it anew; a third may not', () => {
  const set: DeepPartial<ContainerAdjustment> = {
    annotations: { a: '1' },
    mounts: [{ destination: '/m', source: '/1' }],
  };
  const reset: DeepPartial<ContainerAdjustment> = {
    annotations: { a: '2', '-a': '' },
    mounts: [{ destination: '/m', source: '/2' }, { destination: '-/m' }],
  };
  const { adjust } = merged(set, reset);
  assert.equal(adjust.annotations['a'], '2');
  assert.deepEqual(
    adjust.mounts.filter(({ destination }) => destination === '/m').map(({ source }) => source),
    ['/2'],
  );
  assert.throws(() => merged(set, reset, set), /annotation "a"/);
});

test('an empty first argument lets a plugin replace the arguments of another', () => {
  const { adjust } = merged({ args: ['first'] }, { args: ['', 'second', 'x'] });
  assert.deepEqual(adjust.args, ['second', 'x']);
});

test('hooks, CDI devices and device rules of all plugins are collected', () => {
  const asked = (name: string, major: bigint) => ({
    hooks: { createRuntime: [{ path: `/${name}` }] },
    CDIDevices: [{ name: `v.com/c=${name}` }],
    linux: { resources: { devices: [{ allow: true, type: 'c', major: { value: major } }] } },
  });
  const { adjust, container: seen, owners } = merged(asked('one', 1n), asked('two', 2n));
  assert.deepEqual(
    adjust.hooks?.createRuntime.map(({ path }) => path),
    ['/one', '/two'],
  );
  for (const { CDIDevices, linux } of [adjust, seen]) {
    assert.deepEqual(
      CDIDevices.map(({ name }) => name),
      ['v.com/c=one', 'v.com/c=two'],
    );
    assert.deepEqual(
      linux?.resources?.devices.map(({ major }) => major?.value),
      [1n, 2n],
    );
  }
  assert.deepEqual(ownersToWire(new Map([['c1', owners]])).owners['c1']?.simple, {
    3: '00-plugin,01-plugin',
  });
});

test('validators are told who set what', () => {
  const { owners } = merged({
    annotations: { a: '1' },
    linux: { resources: { cpu: { quota: { value: 1n } } } },
  });
  assert.deepEqual(owners.wire.simple, { 17: '00-plugin' });
  assert.deepEqual(owners.wire.compound, { 1: { owners: { a: '00-plugin' } } });
});

test('RDT settings are removed and set anew', () => {
  const { adjust } = merged(
    { linux: { rdt: { closId: { value: 'a' } } } },
    { linux: { rdt: { remove: true } } },
  );
  assert.deepEqual(adjust.linux?.rdt, {
    closId: undefined,
    schemata: undefined,
    enableMonitoring: undefined,
    remove: true,
  });
});

function update(containerId: string, shares: bigint, ignoreFailure = false): ContainerUpdate {
  return ContainerUpdate.fromPartial({
    containerId,
    linux: { resources: { cpu: { shares: { value: shares } } } },
    ignoreFailure,
  });
}

test('updates of other containers are joined by container; a conflict fails unless it may be ignored', () => {
  const changes = new CollectedUpdates(new Map(), 'c1');
  changes.add([update('c2', 1n), update('c3', 2n)], [{ containerId: 'c4', reason: 'why' }], '00-a');
  changes.add(
    [ContainerUpdate.fromPartial({ containerId: 'c2', linux: { resources: { cpu: { cpus: '0' } } } })],
    [],
    '01-b',
  );
  assert.throws(() => changes.add([update('c2', 9n)], [], '01-b'), /00-a and 01-b both set cpu.shares/);
  changes.add([update('c3', 9n, true)], [], '01-b');
  assert.throws(() => changes.add([update('c1', 9n)], [], '01-b'), /while that is being created/);
  assert.deepEqual(
    changes.updates.map(({ containerId, linux }) => [
      containerId,
      linux?.resources?.cpu?.shares?.value,
      linux?.resources?.cpu?.cpus,
    ]),
    [
      ['c2', 1n, '0'],
      ['c3', 2n, ''],
    ],
  );
  assert.deepEqual(changes.evictions, [{ containerId: 'c4', reason: 'why' }]);
});
