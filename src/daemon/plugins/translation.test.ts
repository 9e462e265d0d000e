/** Between the engine's words and the wire's, both ways. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import {
  Container as ContainerView,
  ContainerAdjustment,
  LinuxResources as WireResources,
  PodSandbox,
  type DeepPartial,
} from '../../gen/nri/v1alpha1/api.ts';
import type { Container } from '../../containers/container.ts';
import { buildSpec } from '../../containers/spec/build-spec.ts';
import { sampleInput, withMount } from '../../containers/spec/testing/sample-input.ts';
import { isKind } from '../../lib/errors.ts';
import type { ContainerId, ImageId, SandboxId } from '../../lib/ids.ts';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import { adjustmentFromWire } from './adjustment.ts';
import { checkedCgroupsPath } from './cgroups-path.ts';
import { resourcesFromWire, resourcesToWire } from './resources.ts';
import { containerView, podView } from './views.ts';

const id = 'c'.repeat(64) as ContainerId;
const sandbox: Sandbox = {
  version: 1,
  id: 'a'.repeat(64) as SandboxId,
  config: {
    ...sampleInput.pod,
    labels: { app: 'shop' },
    annotations: { note: 'x' },
    cgroupParent: '/kubepods/pod1',
    overhead: { cpuShares: 2, hugepageLimits: [] },
  },
  runtimeHandler: 'crun',
  createdAtNs: '1000',
  bootId: 'boot',
  cgroup: { parent: '/kubepods/pod1', isOwn: false },
  state: {
    name: 'ready',
    ips: ['10.0.0.2', 'fd00::2'],
    namespaces: { net: '/run/sb/ns/net', ipc: '/run/sb/ns/ipc', pid: '/proc/9/ns/pid' },
    holder: { pid: 9, startTicks: '1' },
  },
};
const container: Container = {
  version: 1,
  id,
  sandboxId: sandbox.id,
  config: { ...sampleInput.container, labels: { role: 'web' }, cdiDevices: ['v.com/c=d'] },
  imageId: 'sha256:1234' as ImageId,
  imageReference: 'registry.example/web:1',
  runtimeHandler: 'crun',
  createdAtNs: '2000',
  bootId: 'boot',
  cgroupsPath: '/kubepods/pod1/c1',
  stopSignal: 'SIGTERM',
  user: { uid: 1, gid: 2, supplementalGroups: [2, 3] },
  resources: { cpuShares: 100, memoryLimitBytes: 1000, hugepageLimits: [], unified: { 'memory.high': '9' } },
  state: {
    name: 'exited',
    startedAtNs: '3000',
    finishedAtNs: '4000',
    exitCode: 7,
    reason: 'Error',
    message: 'why',
  },
};

function assertGolden(t: TestContext, name: string, view: unknown): void {
  const withoutBigints = JSON.parse(
    JSON.stringify(view, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value)),
  ) as unknown;
  t.assert.fileSnapshot(withoutBigints, `test/golden/plugin-views/${name}.json`);
}

test('a pod as plugins are shown it: golden', (t) => assertGolden(t, 'pod', podView(sandbox)));

test('a container as plugins are shown it: golden', (t) => {
  const spec = buildSpec(withMount({ containerPath: '/data' }));
  assertGolden(t, 'container', containerView({ container, spec, imageDigest: 'sha256:77' }));
});

test('a view is what goes over the wire, whole', () => {
  const view = containerView({ container, spec: buildSpec(sampleInput) });
  assert.deepEqual(ContainerView.decode(ContainerView.encode(view).finish()), view);
  const pod = podView(sandbox);
  assert.deepEqual(PodSandbox.decode(PodSandbox.encode(pod).finish()), pod);
});

test('a container whose spec is gone is still told by what its record knows', () => {
  const view = containerView({ container });
  assert.equal(view.linux?.cgroupsPath, '/kubepods/pod1/c1');
  assert.equal(view.exitCode, 7);
});

test('limits come back as they went', () => {
  const resources = {
    cpuPeriodUs: 1,
    cpuQuotaUs: -1,
    cpuShares: 3,
    cpusetCpus: '0-1',
    cpusetMems: '0',
    memoryLimitBytes: 4,
    memorySwapLimitBytes: -1,
    memoryReservationBytes: 6,
    memorySwappiness: 7,
    oomKillerDisabled: true,
    cpuRealtimePeriodUs: 8,
    cpuRealtimeRuntimeUs: 9,
    pidsLimit: -1,
    hugepageLimits: [{ pageSize: '2MB', limitBytes: 10 }],
    unified: { 'memory.high': 'max' },
  };
  assert.deepEqual(resourcesFromWire(resourcesToWire(resources)), resources);
  assert.deepEqual(resourcesFromWire(resourcesToWire({ hugepageLimits: [] })), { hugepageLimits: [] });
});

test('what no number can hold, and classes that the node does not have, are refused', () => {
  const refused = (wire: DeepPartial<WireResources>, kind: 'invalid-argument' | 'failed-precondition') =>
    assert.throws(
      () => resourcesFromWire(WireResources.fromPartial(wire)),
      (error) => isKind(error, kind),
    );
  refused({ memory: { limit: { value: 2n ** 60n } } }, 'invalid-argument');
  refused({ blockioClass: { value: 'gold' } }, 'failed-precondition');
});

test('an adjustment: removals and settings apart, constants by name, the unlimited as such', () => {
  const adjustment = adjustmentFromWire(
    ContainerAdjustment.fromPartial({
      annotations: { a: '1', '-b': '' },
      env: [{ key: '-GONE' }, { key: 'NEW', value: 'x' }],
      rlimits: [{ type: 'RLIMIT_CORE', soft: 0n, hard: 2n ** 64n - 1n }],
      linux: {
        ioPriority: { class: 3, priority: 1 },
        scheduler: { policy: 2, priority: 9, flags: [0] },
        memoryPolicy: { mode: 2, nodes: '0', flags: [1] },
        namespaces: [{ type: '-uts' }, { type: 'ipc', path: '/x' }],
        netDevices: { eth1: { name: '' }, '-eth0': {} },
        resources: { rdtClass: { value: 'gold' }, devices: [{ allow: true, type: 'c', access: 'r' }] },
      },
    }),
  );
  assert.deepEqual(adjustment.annotations, { remove: ['b'], set: { a: '1' } });
  assert.deepEqual(adjustment.env, { remove: ['GONE'], set: [{ name: 'NEW', value: 'x' }] });
  assert.deepEqual(adjustment.rlimits, [{ type: 'RLIMIT_CORE', soft: 0, hard: Infinity }]);
  assert.deepEqual(adjustment.ioPriority, { class: 'IOPRIO_CLASS_IDLE', priority: 1 });
  assert.deepEqual(adjustment.scheduler, {
    policy: 'SCHED_FIFO',
    priority: 9,
    flags: ['SCHED_FLAG_RESET_ON_FORK'],
  });
  assert.deepEqual(adjustment.memoryPolicy, {
    mode: 'MPOL_BIND',
    nodes: '0',
    flags: ['MPOL_F_RELATIVE_NODES'],
  });
  assert.deepEqual(adjustment.namespaces, { remove: ['uts'], set: [{ type: 'ipc', path: '/x' }] });
  assert.deepEqual(adjustment.netDevices, { remove: ['eth0'], set: { eth1: {} } });
  assert.deepEqual(adjustment.intelRdt, { cleared: false, set: { closID: 'gold' } });
  assert.deepEqual(adjustment.deviceRules, [{ allow: true, type: 'c', access: 'r' }]);
});

test('a constant that is not defined is refused', () => {
  const wire = ContainerAdjustment.fromPartial({ linux: { ioPriority: { class: 9 as 3 } } });
  assert.throws(() => adjustmentFromWire(wire), /io_priority.class: 9/);
});

const paths: readonly [string, string, string | undefined][] = [
  [`/kubepods/pod1/${id}`, `/kubepods/pod1/pool/${id}`, `/kubepods/pod1/pool/${id}`],
  [`/kubepods/pod1/${id}`, `/kubepods/pod1/../pod2/${id}`, undefined],
  [`/kubepods/pod1/${id}`, '/kubepods/pod1/other', undefined],
  [`/kubepods/pod1/${id}`, `/system.slice/${id}`, undefined],
  [`/kubepods/pod1/${id}`, `relative/${id}`, undefined],
  [`kubepods-pod1.slice:gantry:${id}`, `kubepods-pod1.slice:pool:${id}`, `kubepods-pod1.slice:pool:${id}`],
  [`kubepods-pod1.slice:gantry:${id}`, `system.slice:gantry:${id}`, undefined],
  [`kubepods-pod1.slice:gantry:${id}`, 'kubepods-pod1.slice:gantry:other', undefined],
];

for (const [own, wanted, expected] of paths) {
  test(`a cgroup in place of ${own.slice(0, 24)}: ${wanted.slice(0, 34)} is ${expected === undefined ? 'refused' : 'taken'}`, () => {
    if (expected === undefined)
      assert.throws(
        () => checkedCgroupsPath(own, wanted, id),
        (error) => isKind(error, 'invalid-argument'),
      );
    else assert.equal(checkedCgroupsPath(own, wanted, id), expected);
  });
}
