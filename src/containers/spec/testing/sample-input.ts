/** A plain container on a usual node: what the tests change one thing of. */
import type { NamespaceOptions } from '../../../sandbox/pod-config.ts';
import type { ContainerConfig, ContainerSecurity } from '../../container-config.ts';
import { knownCapabilities } from '../capabilities.ts';
import type { HostFacts } from '../host-facts.ts';
import type { SpecInput } from '../spec-input.ts';

const namespaces: NamespaceOptions = {
  network: { mode: 'pod' },
  pid: { mode: 'container' },
  ipc: { mode: 'pod' },
};

export const sampleHost: HostFacts = {
  hostname: 'node-1',
  capabilities: knownCapabilities,
  cgroupVersion: 'v2',
  swapAccounting: true,
  seccomp: { enabled: true, architecture: 'amd64' },
  apparmorEnabled: false,
  selinuxEnabled: false,
  recursiveReadOnlyMounts: true,
  hugepageSizes: ['2MB', '1GB'],
  kernel: { major: 6, minor: 12 },
  runtimeName: 'crun',
  minOomScoreAdj: -1000,
  maxOpenFiles: 1_048_576,
};

export const sampleSecurity: ContainerSecurity = {
  capabilities: { add: [], drop: [], addAmbient: [] },
  privileged: false,
  namespaces,
  readonlyRootfs: false,
  supplementalGroups: [],
  supplementalGroupsPolicy: 'merge',
  noNewPrivileges: false,
};

export const sampleContainer: ContainerConfig = {
  metadata: { name: 'web', attempt: 0 },
  image: { reference: 'sha256:1234', userSpecified: 'registry.example/web:1', annotations: {} },
  command: [],
  args: [],
  env: [],
  mounts: [],
  devices: [],
  labels: {},
  annotations: {},
  stdin: false,
  stdinOnce: false,
  tty: false,
  linux: { resources: { hugepageLimits: [] }, security: sampleSecurity },
  cdiDevices: [],
};

export const sampleInput: SpecInput = {
  pod: {
    metadata: { name: 'shop', uid: 'f0e1', namespace: 'default', attempt: 0 },
    hostname: 'shop',
    portMappings: [],
    labels: {},
    annotations: {},
    sysctls: {},
    namespaces,
    security: {
      readonlyRootfs: false,
      supplementalGroups: [],
      supplementalGroupsPolicy: 'merge',
      privileged: false,
    },
  },
  container: sampleContainer,
  imageConfig: { entrypoint: ['/entry'], cmd: ['serve'], env: ['PATH=/bin', 'LANG=C'], workingDir: '/srv' },
  user: { uid: 0, gid: 0, supplementalGroups: [0], home: '/root' },
  host: sampleHost,
  defaults: { openFiles: { soft: 1024, hard: 524_288 }, passedOnAnnotations: [] },
  sandbox: {
    id: 'a'.repeat(64),
    namespaces: { net: '/run/sb/ns/net', ipc: '/run/sb/ns/ipc', uts: '/run/sb/ns/uts' },
    files: {
      shm: '/run/sb/shm',
      hosts: '/run/sb/hosts',
      hostname: '/run/sb/hostname',
      resolvConf: '/run/sb/resolv.conf',
    },
  },
  rootfs: '/var/lib/gantry/rootfs',
  cgroupsPath: '/kubepods/pod1/c1',
  mounts: [],
  volumes: [],
  devices: [],
  hostDevices: [],
  loadedApparmorProfiles: new Set(),
};

/** The plain container with another security context. */
export function withSecurity(changes: Partial<ContainerSecurity>, input: SpecInput = sampleInput): SpecInput {
  const { linux } = input.container;
  const security = { ...linux.security, ...changes };
  return { ...input, container: { ...input.container, linux: { ...linux, security } } };
}

/** The plain container with other limits. */
export function withResources(changes: Partial<ContainerConfig['linux']['resources']>): SpecInput {
  const { linux } = sampleContainer;
  const resources = { ...linux.resources, ...changes };
  return { ...sampleInput, container: { ...sampleContainer, linux: { ...linux, resources } } };
}

/** The plain container with one mount. */
export function withMount(
  changes: Partial<SpecInput['mounts'][number]['request']>,
  sourcePropagation?: 'private' | 'slave' | 'shared',
): SpecInput {
  const request = {
    containerPath: '/data',
    hostPath: '/srv/data',
    readonly: false,
    selinuxRelabel: false,
    propagation: 'private' as const,
    uidMappings: [],
    gidMappings: [],
    recursiveReadOnly: false,
    ...changes,
  };
  const mount = { request, source: request.hostPath ?? '/run/images/1', sourcePropagation };
  return { ...sampleInput, mounts: [...sampleInput.mounts, mount] };
}
