import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isKind } from '../../../lib/errors.ts';
import type { Spec } from '../../../oci/spec-types.ts';
import { buildSpec } from '../build-spec.ts';
import { mergeResources } from '../resources.ts';
import { sampleHost, sampleInput, withMount } from '../testing/sample-input.ts';
import { adjustSpec } from './adjust-spec.ts';
import type { JoinedNamespaces } from './joined-namespaces.ts';
import type { SpecAdjustment } from './spec-adjustment.ts';

const nothing: SpecAdjustment = {
  annotations: { remove: [], set: {} },
  env: { remove: [], set: [] },
  rlimits: [],
  mounts: { remove: [], set: [] },
  hooks: {},
  cdiDevices: [],
  devices: { remove: [], set: [] },
  deviceRules: [],
  resources: { hugepageLimits: [] },
  namespaces: { remove: [], set: [] },
  sysctls: { remove: [], set: {} },
  netDevices: { remove: [], set: {} },
};

const joined: JoinedNamespaces = new Map([
  ['/run/other/ipc', 'other'],
  ['/run/other/pid', 'node'],
  ['/run/other/file', 'none'],
]);

const before = buildSpec(withMount({ containerPath: '/data' }));

function adjusted(changes: Partial<SpecAdjustment>, spec: Spec = before): Spec {
  const adjustment = { ...nothing, ...changes };
  const resources = mergeResources(sampleInput.container.linux.resources, adjustment.resources);
  return adjustSpec({ spec, adjustment, resources, joined, pod: sampleInput.pod, host: sampleHost });
}

/** Compares with a file in test/golden. */
function assertGolden(t: TestContext, name: string, value: unknown): void {
  t.assert.fileSnapshot(value, `test/golden/adjustments/${name}.json`);
}

const adjustments: Readonly<Record<string, Partial<SpecAdjustment>>> = {
  process: {
    annotations: { remove: ['io.kubernetes.cri.image-name'], set: { 'example.com/pool': 'gold' } },
    env: {
      remove: ['LANG'],
      set: [
        { name: 'PATH', value: '/opt/bin' },
        { name: 'NEW', value: 'a=b' },
      ],
    },
    args: ['/wrap', '--', '/entry'],
    rlimits: [
      { type: 'RLIMIT_NOFILE', soft: 2048, hard: 4096 },
      { type: 'RLIMIT_MEMLOCK', soft: Infinity, hard: Infinity },
    ],
    ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 4 },
    scheduler: { policy: 'SCHED_BATCH', nice: 5, flags: ['SCHED_FLAG_RESET_ON_FORK'] },
    hooks: {
      createRuntime: [{ path: '/usr/libexec/hook', args: ['hook', 'x'], timeout: 3 }],
      poststop: [{ path: '/usr/libexec/gone' }],
    },
  },
  mounts: {
    mounts: {
      remove: ['/dev/mqueue'],
      set: [
        { destination: '/data', source: '/srv/other', options: ['rbind', 'ro', 'relabel'] },
        { destination: '/deep/in/it', type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] },
        { destination: '/deep', source: '/srv/deep', options: ['rbind', 'rslave'] },
      ],
    },
  },
  devices: {
    devices: {
      remove: [],
      set: [{ type: 'c', path: '/dev/fuse', major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 }],
    },
    deviceRules: [{ allow: true, type: 'b', major: 8, access: 'r' }],
    netDevices: { remove: [], set: { eth7: { name: 'fast0' } } },
  },
  resources: {
    cgroupsPath: '/kubepods/pod1/pool/c1',
    resources: {
      cpuShares: 2048,
      cpuQuotaUs: 20_000,
      cpuPeriodUs: 10_000,
      cpusetCpus: '2-3',
      cpusetMems: '0',
      memoryLimitBytes: 128 * 1024 * 1024,
      memoryReservationBytes: 64 * 1024 * 1024,
      memorySwappiness: 10,
      pidsLimit: 500,
      oomScoreAdj: -5,
      hugepageLimits: [{ pageSize: '2MB', limitBytes: 2 * 1024 * 1024 }],
      unified: { 'memory.high': '1000000' },
    },
    intelRdt: { cleared: false, set: { closID: 'gold', schemata: ['L3:0=ff'], enableMonitoring: true } },
    memoryPolicy: { mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] },
  },
  confinement: {
    namespaces: {
      remove: ['uts'],
      set: [{ type: 'ipc', path: '/run/other/ipc' }, { type: 'uts' }, { type: 'cgroup' }],
    },
    sysctls: { remove: [], set: { 'net.ipv4.ip_forward': '1' } },
    seccomp: {
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 1,
      architectures: ['SCMP_ARCH_X86_64'],
      syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }],
    },
  },
};

for (const [name, changes] of Object.entries(adjustments)) {
  test(`an adjustment, ${name}: golden`, (t) => assertGolden(t, name, adjusted(changes)));
}

test('an adjustment of nothing changes nothing', () => {
  assert.deepEqual(adjusted({}), before);
});

test('what a CDI device means is laid over the spec', () => {
  const spec = adjustSpec({
    spec: before,
    adjustment: nothing,
    resources: sampleInput.container.linux.resources,
    cdi: {
      env: ['VENDOR=1'],
      devices: [{ device: { type: 'c', path: '/dev/v0', major: 1, minor: 2 }, permissions: 'rw' }],
      mounts: [{ destination: '/vendor', type: 'bind', source: '/opt/vendor', options: ['ro'] }],
      hooks: { createContainer: [{ path: '/bin/vendor' }] },
      additionalGids: [44],
    },
    joined,
    pod: sampleInput.pod,
    host: sampleHost,
  });
  assert.ok(spec.process.env?.includes('VENDOR=1'));
  assert.ok(spec.process.user.additionalGids?.includes(44));
  assert.deepEqual(
    spec.linux.devices?.map(({ path }) => path),
    ['/dev/v0'],
  );
  assert.deepEqual(spec.linux.resources?.devices?.at(-1), {
    allow: true,
    type: 'c',
    major: 1,
    minor: 2,
    access: 'rw',
  });
  assert.ok(spec.mounts.some(({ destination }) => destination === '/vendor'));
  assert.deepEqual(spec.hooks, { createContainer: [{ path: '/bin/vendor' }] });
});

test('a mount that is to be labelled is refused where SELinux is on', () => {
  const mounts = { remove: [], set: [{ destination: '/x', source: '/x', options: ['rbind', 'relabel'] }] };
  const input = {
    spec: before,
    adjustment: { ...nothing, mounts },
    resources: sampleInput.container.linux.resources,
    joined,
    pod: sampleInput.pod,
  };
  const labelling = { ...input, host: { ...sampleHost, selinuxEnabled: true } };
  assert.throws(
    () => adjustSpec(labelling),
    (error) => isKind(error, 'failed-precondition'),
  );
  assert.deepEqual(
    adjustSpec({ ...input, host: sampleHost }).mounts.find(({ destination }) => destination === '/x')
      ?.options,
    ['rbind'],
  );
});

test('an unlimited limit is written as the highest number', () => {
  const spec = adjusted({ rlimits: [{ type: 'RLIMIT_CORE', soft: 0, hard: Infinity }] });
  assert.match(JSON.stringify(spec.process.rlimits), /"soft":0,"hard":18446744073709551615/);
});

const refused: readonly [string, Partial<SpecAdjustment>, RegExp][] = [
  [
    'an annotation that steers the runtime',
    { annotations: { remove: [], set: { 'run.oci.handler': 'x' } } },
    /steer/,
  ],
  ['an empty program', { args: [''] }, /command/],
  ['a variable with = in its name', { env: { remove: [], set: [{ name: 'A=B', value: '' }] } }, /env/],
  ['a home of two lines', { env: { remove: [], set: [{ name: 'HOME', value: '/\nroot::0:0' }] } }, /HOME/],
  ['a limit that is none', { rlimits: [{ type: 'NOFILE', soft: 1, hard: 1 }] }, /RLIMIT_NOFILE/],
  ['a soft limit above the hard one', { rlimits: [{ type: 'RLIMIT_CORE', soft: 2, hard: 1 }] }, /above/],
  [
    'a mount over /proc',
    { mounts: { remove: [], set: [{ destination: '/proc/self', source: '/x' }] } },
    /kernel/,
  ],
  ['a mount over the root', { mounts: { remove: [], set: [{ destination: '/', source: '/x' }] } }, /root/],
  ['another /dev', { mounts: { remove: [], set: [{ destination: '/dev', source: '/dev' }] } }, /\/dev/],
  ['no /dev', { mounts: { remove: ['/dev'], set: [] } }, /\/dev/],
  ['a relative source', { mounts: { remove: [], set: [{ destination: '/x', source: 'x' }] } }, /absolute/],
  ['a relative hook', { hooks: { prestart: [{ path: 'hook' }] } }, /hooks.prestart/],
  ['a device outside of /', { devices: { remove: [], set: [{ type: 'c', path: 'dev/x' }] } }, /absolute/],
  ['a device rule of other letters', { deviceRules: [{ allow: true, access: 'rx' }] }, /r, w and m/],
  ['a sysctl of the node', { sysctls: { remove: [], set: { 'kernel.core_pattern': '|/x' } } }, /whole node/],
  ['no mount namespace', { namespaces: { remove: ['mount'], set: [] } }, /mount namespace/],
  ['an unknown namespace', { namespaces: { remove: [], set: [{ type: 'net' }] } }, /kind of namespace/],
  [
    'a mount namespace by its path',
    { namespaces: { remove: [], set: [{ type: 'mount', path: '/run/other/ipc' }] } },
    /mount namespace/,
  ],
  ['a user namespace', { namespaces: { remove: [], set: [{ type: 'user' }] } }, /user namespace/],
  [
    'a namespace of the node by its path',
    { namespaces: { remove: [], set: [{ type: 'pid', path: '/run//other/pid' }] } },
    /"\/run\/other\/pid" is a namespace of the node/,
  ],
  [
    'a namespace of the node, because the pod’s is taken away',
    { namespaces: { remove: ['network'], set: [] } },
    /network namespace of the node/,
  ],
  [
    'a path that is no namespace',
    { namespaces: { remove: [], set: [{ type: 'uts', path: '/run/other/file' }] } },
    /is not a namespace/,
  ],
  ['a cpuset that is none', { resources: { hugepageLimits: [], cpusetCpus: 'all' } }, /cpuset_cpus/],
  ['too little memory', { resources: { hugepageLimits: [], memoryLimitBytes: 5 } }, /too low/],
  [
    'a file of cgroups that is no limit',
    { resources: { hugepageLimits: [], unified: { 'cgroup.kill': '1' } } },
    /limit/,
  ],
  [
    'an OOM score beyond the range',
    { resources: { hugepageLimits: [], oomScoreAdj: 2000 } },
    /oom_score_adj/,
  ],
  [
    'a swappiness beyond the range',
    { resources: { hugepageLimits: [], memorySwappiness: 101 } },
    /swappiness/,
  ],
];

for (const [what, changes, named] of refused) {
  test(`an adjustment is refused like a request: ${what}`, () => {
    assert.throws(
      () => adjusted(changes),
      (error) => isKind(error, 'invalid-argument') && named.test(String(error)),
    );
  });
}
