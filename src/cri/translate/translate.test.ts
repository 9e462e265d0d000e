import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ContainerConfig,
  PodSandboxConfig,
  Signal,
  type LinuxContainerSecurityContext,
} from '../../gen/runtime/v1/api.ts';
import { isKind } from '../../lib/errors.ts';
import type { Container } from '../../containers/container.ts';
import { containerStatusToWire } from './container-status.ts';
import { containerConfigFromWire } from './container-config.ts';
import { podConfigFromWire } from './pod-config.ts';
import { resourcesFromWire, resourcesToWire } from './resources.ts';
import { namespacesFromWire, namespacesToWire } from './security.ts';
import { signalFromWire, signalToWire } from './signals.ts';

/** What a client sends that sets nothing: all fields at their defaults, as decoded from an empty message. */
const emptyPod = (): PodSandboxConfig => PodSandboxConfig.decode(new Uint8Array());
const emptyContainer = (): ContainerConfig => ContainerConfig.decode(new Uint8Array());

const pod = (): PodSandboxConfig => ({
  ...emptyPod(),
  metadata: { name: 'web', uid: 'u1', namespace: 'default', attempt: 2 },
});
const container = (): ContainerConfig => ({
  ...emptyContainer(),
  metadata: { name: 'c', attempt: 1 },
  image: { image: 'busybox', annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
});

function refuses(translate: () => unknown, naming: RegExp): void {
  assert.throws(translate, (error: Error) => isKind(error, 'invalid-argument') && naming.test(error.message));
}

test('a minimal pod has the pod’s own namespaces and nothing else', () => {
  const config = podConfigFromWire(pod());
  assert.deepEqual(config.metadata, { name: 'web', uid: 'u1', namespace: 'default', attempt: 2 });
  assert.deepEqual(config.namespaces, {
    network: { mode: 'pod' },
    pid: { mode: 'pod' },
    ipc: { mode: 'pod' },
  });
  assert.equal(config.hostname, undefined);
  assert.equal(config.cgroupParent, undefined);
});

test('a pod that is malformed is refused by field', () => {
  refuses(() => podConfigFromWire(undefined), /^config is missing/);
  refuses(() => podConfigFromWire(emptyPod()), /config\.metadata is missing/);
  refuses(
    () => podConfigFromWire({ ...pod(), metadata: { name: '', uid: 'u', namespace: 'n', attempt: 0 } }),
    /metadata\.name/,
  );
  refuses(() => podConfigFromWire({ ...pod(), hostname: 'a\nb' }), /config\.hostname/);
  refuses(() => podConfigFromWire({ ...pod(), hostname: 'x'.repeat(65) }), /config\.hostname/);
  refuses(() => podConfigFromWire({ ...pod(), logDirectory: 'relative' }), /log_directory/);
  refuses(
    () =>
      podConfigFromWire({
        ...pod(),
        portMappings: [{ protocol: 0, containerPort: 70_000, hostPort: 0, hostIp: '' }],
      }),
    /port_mappings\[0\]\.container_port/,
  );
  refuses(
    () =>
      podConfigFromWire({
        ...pod(),
        portMappings: [{ protocol: 9 as 0, containerPort: 80, hostPort: 0, hostIp: '' }],
      }),
    /port_mappings\[0\]\.protocol/,
  );
});

test('a host port of 0 is none', () => {
  const config = podConfigFromWire({
    ...pod(),
    portMappings: [{ protocol: 1, containerPort: 53, hostPort: 0, hostIp: '' }],
  });
  assert.deepEqual(config.portMappings, [
    { protocol: 'udp', containerPort: 53, hostPort: undefined, hostIp: undefined },
  ]);
});

test('a container that is malformed is refused by field', () => {
  const mount = {
    containerPath: '/data',
    hostPath: '/srv',
    readonly: false,
    selinuxRelabel: false,
    propagation: 0 as const,
    uidMappings: [],
    gidMappings: [],
    recursiveReadOnly: false,
    image: undefined,
    imageSubPath: '',
  };
  const withMount = (change: object) => () =>
    containerConfigFromWire({ ...container(), mounts: [{ ...mount, ...change }] });
  refuses(() => containerConfigFromWire(emptyContainer()), /config\.metadata is missing/);
  refuses(() => containerConfigFromWire({ ...container(), image: undefined }), /config\.image is missing/);
  refuses(withMount({ hostPath: 'srv' }), /mounts\[0\]\.host_path/);
  refuses(withMount({ containerPath: '' }), /mounts\[0\]\.container_path/);
  refuses(withMount({ recursiveReadOnly: true }), /recursive_read_only.*not readonly/);
  refuses(withMount({ recursiveReadOnly: true, readonly: true, propagation: 1 }), /propagation PRIVATE/);
  refuses(withMount({ propagation: 7 }), /mounts\[0\]\.propagation/);
  refuses(withMount({ imageSubPath: 'x' }), /image_sub_path/);
  refuses(withMount({ image: container().image, hostPath: '' }), /mounts\[0\]\.readonly/);
  refuses(
    () =>
      containerConfigFromWire({
        ...container(),
        devices: [{ containerPath: '/dev/x', hostPath: '/dev/x', permissions: 'rwx' }],
      }),
    /permissions/,
  );
  refuses(() => containerConfigFromWire({ ...container(), stopSignal: 99 as 0 }), /stop_signal/);
});

test('users: numbers beyond 31 bits, groups without a user, both kinds of user', () => {
  const secured = (change: Partial<LinuxContainerSecurityContext>) => () => {
    const linux = { resources: undefined, securityContext: { ...securityContext(), ...change } };
    return containerConfigFromWire({ ...container(), linux });
  };
  refuses(secured({ runAsUser: { value: 2n ** 31n } }), /run_as_user/);
  refuses(secured({ runAsUser: { value: -1n } }), /run_as_user/);
  refuses(secured({ runAsGroup: { value: 5n } }), /run_as_group/);
  refuses(secured({ runAsUser: { value: 1n }, runAsUsername: 'www' }), /both/);
  refuses(secured({ supplementalGroups: [2n ** 40n] }), /supplemental_groups/);
  refuses(secured({ apparmorProfile: 'nonsense' }), /apparmor/);
  assert.equal(secured({ runAsUser: { value: 0n } })().linux.security.runAsUser, 0);
});

function securityContext(): LinuxContainerSecurityContext {
  return {
    capabilities: undefined,
    privileged: false,
    namespaceOptions: undefined,
    selinuxOptions: undefined,
    runAsUser: undefined,
    runAsGroup: undefined,
    runAsUsername: '',
    readonlyRootfs: false,
    supplementalGroups: [],
    supplementalGroupsPolicy: 0,
    noNewPrivs: false,
    maskedPaths: [],
    readonlyPaths: [],
    seccomp: undefined,
    apparmor: undefined,
    apparmorProfile: '',
    seccompProfilePath: '',
  };
}

test('resources survive both ways, and 2^60 bytes are refused', () => {
  const wire = {
    cpuPeriod: 100_000n,
    cpuQuota: -1n,
    cpuShares: 512n,
    memoryLimitInBytes: 1n << 30n,
    oomScoreAdj: -997n,
    cpusetCpus: '0-1',
    cpusetMems: '',
    hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
    unified: { 'memory.high': '1' },
    memorySwapLimitInBytes: 0n,
  };
  assert.deepEqual(resourcesToWire(resourcesFromWire(wire, 'linux')), wire);
  refuses(
    () => resourcesFromWire({ ...wire, memoryLimitInBytes: 1n << 60n }, 'linux'),
    /linux\.memory_limit_in_bytes/,
  );
});

test('a memory limit that a cgroup without one reports is none', () => {
  const wire = { ...resourcesToWire({ hugepageLimits: [] }), memorySwapLimitInBytes: (1n << 63n) - 1n };
  const read = resourcesFromWire({ ...wire, memoryLimitInBytes: 9_223_372_036_854_771_712n }, 'linux');
  assert.equal(read.memoryLimitBytes, -1);
  assert.equal(read.memorySwapLimitBytes, -1);
});

test('namespaces survive both ways; a target needs an id', () => {
  const wire = {
    network: 2 as const,
    pid: 3 as const,
    ipc: 0 as const,
    targetId: 'abc',
    usernsOptions: undefined,
  };
  assert.deepEqual(namespacesToWire(namespacesFromWire(wire, 'n')), wire);
  refuses(() => namespacesFromWire({ ...wire, targetId: '' }, 'n'), /n\.target_id/);
});

test('every stop signal of the wire survives both ways', () => {
  for (const [name, value] of Object.entries(Signal)) {
    const text = signalFromWire(value);
    if (value === Signal.RUNTIME_DEFAULT) assert.equal(text, undefined);
    else assert.equal(signalToWire(text ?? ''), value, name);
  }
  assert.equal(signalFromWire(Signal.SIGRTMINPLUS3), 'SIGRTMIN+3');
  assert.equal(signalToWire('15'), Signal.RUNTIME_DEFAULT);
});

test('the status tells which image a mount shows', () => {
  const mount = { containerPath: '/data', hostPath: '', readonly: true, selinuxRelabel: false };
  const rest = { propagation: 0 as const, uidMappings: [], gidMappings: [], recursiveReadOnly: false };
  const config = containerConfigFromWire({
    ...container(),
    mounts: [{ ...mount, ...rest, image: container().image, imageSubPath: '' }],
  });
  const record = {
    config,
    createdAtNs: '1',
    stopSignal: 'SIGTERM',
    mountedImages: { 0: 'sha256:1' },
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: config.linux.resources,
    state: { name: 'creating' },
  } as unknown as Container;
  const [shown] = containerStatusToWire(record).mounts;
  assert.deepEqual([shown?.image?.image, shown?.image?.imageRef], ['busybox', 'sha256:1']);
});
