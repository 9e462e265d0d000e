import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { buildSpec } from './build-spec.ts';
import {
  sampleContainer,
  sampleHost,
  sampleInput,
  sampleSecurity,
  withMount,
  withResources,
  withSecurity,
} from './testing/sample-input.ts';
import type { SpecInput } from './spec-input.ts';

const localhostProfile = JSON.stringify({
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] }],
  syscalls: [
    { names: ['read', 'write', 'exit_group'], action: 'SCMP_ACT_ALLOW', args: [], comment: '', includes: {} },
    { names: ['mount'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
    { name: 'ptrace', action: 'SCMP_ACT_ALLOW', args: null, includes: { minKernel: '4.8' } },
  ],
});

const privileged: SpecInput = withSecurity(
  { privileged: true },
  {
    ...sampleInput,
    pod: { ...sampleInput.pod, security: { ...sampleInput.pod.security, privileged: true } },
    hostDevices: [
      { type: 'b', path: '/dev/vda', major: 254, minor: 0, fileMode: 0o660, uid: 0, gid: 6 },
      { type: 'c', path: '/dev/kmsg', major: 1, minor: 11, fileMode: 0o644, uid: 0, gid: 0 },
    ],
  },
);

const goldens: Readonly<Record<string, SpecInput>> = {
  minimal: sampleInput,
  privileged,
  'host-network': withSecurity(
    { namespaces: { ...sampleSecurity.namespaces, network: { mode: 'node' }, ipc: { mode: 'node' } } },
    {
      ...sampleInput,
      pod: {
        ...sampleInput.pod,
        hostname: undefined,
        namespaces: { ...sampleInput.pod.namespaces, network: { mode: 'node' }, ipc: { mode: 'node' } },
      },
      sandbox: { ...sampleInput.sandbox, namespaces: {} },
    },
  ),
  'shared-pid': withSecurity(
    { namespaces: { ...sampleSecurity.namespaces, pid: { mode: 'pod' } } },
    {
      ...sampleInput,
      sandbox: {
        ...sampleInput.sandbox,
        namespaces: { ...sampleInput.sandbox.namespaces, pid: '/proc/42/ns/pid' },
      },
    },
  ),
  'target-pid': withSecurity(
    { namespaces: { ...sampleSecurity.namespaces, pid: { mode: 'target', targetId: 'b'.repeat(64) } } },
    { ...sampleInput, targetNamespaces: '/proc/77/ns' },
  ),
  tty: { ...sampleInput, container: { ...sampleContainer, tty: true, stdin: true } },
  'seccomp-default': withSecurity({ seccomp: { type: 'runtime-default' } }),
  'seccomp-localhost': {
    ...withSecurity({ seccomp: { type: 'localhost', ref: '/var/lib/kubelet/seccomp/a.json' } }),
    seccompProfile: localhostProfile,
  },
  capabilities: withSecurity({
    capabilities: { add: ['net_admin', 'CAP_SYS_TIME'], drop: ['ALL', 'MKNOD'], addAmbient: ['NET_ADMIN'] },
    noNewPrivileges: true,
  }),
  resources: withResources({
    cpuPeriodUs: 100_000,
    cpuQuotaUs: 50_000,
    cpuShares: 512,
    cpusetCpus: '0-1',
    cpusetMems: '0',
    memoryLimitBytes: 64 * 1024 * 1024,
    memorySwapLimitBytes: 96 * 1024 * 1024,
    oomScoreAdj: 900,
    unified: { 'memory.high': '50331648' },
  }),
  hugepages: withResources({
    hugepageLimits: [
      { pageSize: '2MB', limitBytes: 4 * 1024 * 1024 },
      { pageSize: '64KB', limitBytes: 0 },
    ],
  }),
  'readonly-rootfs': withSecurity({ readonlyRootfs: true }),
  mounts: {
    ...sampleInput,
    volumes: [
      { path: '/srv/volume', source: '/run/c/volumes/0' },
      { path: '/data', source: '/run/c/volumes/1' },
    ],
    mounts: [
      ...withMount({ containerPath: '/data/deep/er', readonly: true, recursiveReadOnly: true }).mounts,
      ...withMount({ containerPath: '/data', propagation: 'host-to-container' }, 'slave').mounts,
      ...withMount({ containerPath: '/shared', propagation: 'bidirectional' }, 'shared').mounts,
      ...withMount({ containerPath: '/etc/hosts', hostPath: '/kubelet/etc-hosts' }).mounts,
      ...withMount({
        containerPath: '/model',
        hostPath: undefined,
        image: { reference: 'sha256:77', annotations: {} },
      }).mounts,
    ],
  },
  'run-as-user': {
    ...sampleInput,
    user: { uid: 1000, gid: 2000, supplementalGroups: [2000, 50_000, 60_000], home: '/home/app' },
    container: { ...sampleContainer, command: ['id'], args: ['-G'], workingDir: '/home/app' },
  },
  'systemd-cgroup': { ...sampleInput, cgroupsPath: 'kubepods-pod1.slice:gantry:c1' },
  devices: {
    ...sampleInput,
    devices: [
      {
        device: { type: 'c', path: '/dev/fuse', major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 },
        permissions: 'rw',
      },
    ],
  },
  cdi: {
    ...sampleInput,
    cdi: {
      env: ['GPU=0'],
      devices: [{ device: { type: 'c', path: '/dev/gpu0', major: 195, minor: 0 }, permissions: 'rwm' }],
      mounts: [{ destination: '/lib/gpu', type: 'bind', source: '/opt/gpu', options: ['rbind', 'ro'] }],
      hooks: { createContainer: [{ path: '/usr/bin/gpu-hook', args: ['gpu-hook', 'link'] }] },
      additionalGids: [44],
    },
  },
  'user-namespace': userNamespace(),
};

function userNamespace(): SpecInput {
  const user = {
    mode: 'pod' as const,
    uids: [{ hostId: 65_536, containerId: 0, length: 65_536 }],
    gids: [{ hostId: 65_536, containerId: 0, length: 65_536 }],
  };
  const namespaces = { ...sampleSecurity.namespaces, user };
  const { pod, sandbox } = sampleInput;
  return withSecurity(
    { namespaces },
    {
      ...sampleInput,
      pod: { ...pod, namespaces: { ...pod.namespaces, user } },
      sandbox: { ...sandbox, namespaces: { ...sandbox.namespaces, user: '/run/sb/ns/user' } },
    },
  );
}

for (const [name, input] of Object.entries(goldens)) {
  test(`spec: ${name} is as recorded`, (t: TestContext) => {
    t.assert.fileSnapshot(buildSpec(input), `test/golden/spec/${name}.json`);
  });
}

test('spec: a privileged container keeps nothing from the request’s seccomp profile', () => {
  const spec = buildSpec(withSecurity({ seccomp: { type: 'runtime-default' } }, privileged));
  assert.equal(spec.linux.seccomp, undefined);
});

test('spec: a capability that the host lacks is left out', () => {
  const host = { ...sampleHost, capabilities: ['CAP_KILL', 'CAP_CHOWN'] };
  const spec = buildSpec({ ...privileged, host });
  assert.deepEqual(spec.process.capabilities?.bounding, ['CAP_CHOWN', 'CAP_KILL']);
});

test('CVE-2022-24769: no capability is inheritable', () => {
  for (const input of [sampleInput, privileged]) {
    assert.deepEqual(buildSpec(input).process.capabilities?.inheritable, []);
  }
});

test('CVE-2026-41579: the tmpfs on /dev stays also when the request mounts /dev', () => {
  const { mounts } = buildSpec(withMount({ containerPath: '/dev', hostPath: '/dev' }));
  const onDev = mounts.filter(({ destination }) => destination === '/dev');
  assert.deepEqual(
    onDev.map(({ type }) => type),
    ['tmpfs', 'bind'],
  );
  assert.ok(!mounts.some(({ destination }) => destination.startsWith('/dev/')));
});

test('spec: a mount or an image volume over /etc does not hide the pod’s files', () => {
  const volume = { ...sampleInput, volumes: [{ path: '/etc', source: '/volumes/0' }] };
  for (const input of [withMount({ containerPath: '/etc' }), volume]) {
    const places = buildSpec(input).mounts.map(({ destination }) => destination);
    for (const file of ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf']) {
      assert.ok(places.indexOf('/etc') < places.indexOf(file), file);
    }
  }
});

test('CVE-2024-3154: annotations that steer the runtime do not reach it', () => {
  const annotations = {
    'org.systemd.property.ExecStart': 'x',
    'run.oci.handler': 'x',
    'org.criu.config': 'x',
    bundle: 'x',
    'module.wasm.image/variant': 'x',
    'io.kubernetes.cri.sandbox-id': 'forged',
    'example.com/note': 'kept',
  };
  const container = { ...sampleContainer, annotations };
  const defaults = { ...sampleInput.defaults, passedOnAnnotations: ['*'] };
  const passed = buildSpec({ ...sampleInput, container, defaults }).annotations ?? {};
  assert.equal(passed['example.com/note'], 'kept');
  assert.equal(passed['io.kubernetes.cri.sandbox-id'], sampleInput.sandbox.id);
  for (const name of Object.keys(annotations).slice(0, 5)) assert.equal(passed[name], undefined, name);
  const strict = buildSpec({ ...sampleInput, container }).annotations ?? {};
  assert.equal(strict['example.com/note'], undefined);
});

test('spec: oom_score_adj and open files are cut to what the daemon may set', () => {
  const host = { ...sampleHost, minOomScoreAdj: 0, maxOpenFiles: 4096 };
  const { process } = buildSpec({ ...withResources({ oomScoreAdj: -998 }), host });
  assert.equal(process.oomScoreAdj, 0);
  assert.deepEqual(process.rlimits, [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 4096 }]);
});

test('spec: AppArmor’s default is used where it is loaded, and SELinux labels where it is on', () => {
  const host = { ...sampleHost, apparmorEnabled: true, selinuxEnabled: true };
  const loadedApparmorProfiles = new Set(['cri-gantry.apparmor.d']);
  const spec = buildSpec({
    ...withSecurity({ selinux: { level: 's0:c1,c2' } }),
    host,
    loadedApparmorProfiles,
  });
  assert.equal(spec.process.apparmorProfile, 'cri-gantry.apparmor.d');
  assert.equal(spec.process.selinuxLabel, 'system_u:system_r:container_t:s0:c1,c2');
  assert.equal(spec.linux.mountLabel, 'system_u:object_r:container_file_t:s0:c1,c2');
});
