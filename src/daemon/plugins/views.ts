/** Pods and containers as plugins are shown them. */
import {
  Container as ContainerView,
  ContainerState,
  LinuxContainer,
  type LinuxResources as WireResources,
  PodSandbox,
  SecurityProfile_ProfileType,
} from '../../gen/nri/v1alpha1/api.ts';
import { processesOf, type Container } from '../../containers/container.ts';
import type { Spec } from '../../oci/spec-types.ts';
import type { LinuxResources, SecurityProfile } from '../../sandbox/pod-config.ts';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import { resourcesToWire } from './resources.ts';
import { specView } from './spec-view.ts';

/** The names of pinned namespaces on the wire, which are the OCI spec's. */
const namespaceTypes = { net: 'network', ipc: 'ipc', uts: 'uts', pid: 'pid', user: 'user' } as const;

/** There is no process of the pod's own, unless one holds its PID namespace: `pid` is 0 then, as is true. */
export function podView({ id, config, runtimeHandler, cgroup, state }: Sandbox): PodSandbox {
  const { metadata, labels, annotations, cgroupParent, overhead, resources } = config;
  const isReady = state.name === 'ready';
  const namespaces: Readonly<Record<string, string | undefined>> = isReady ? { ...state.namespaces } : {};
  return PodSandbox.fromPartial({
    id,
    name: metadata.name,
    uid: metadata.uid,
    namespace: metadata.namespace,
    labels: { ...labels },
    annotations: { ...annotations },
    runtimeHandler,
    linux: {
      podOverhead: optionalResources(overhead),
      podResources: optionalResources(resources),
      cgroupParent: cgroupParent ?? cgroup.parent,
      cgroupsPath: cgroup.parent,
      namespaces: Object.entries(namespaceTypes).flatMap(([name, type]) => {
        const path = namespaces[name];
        return path === undefined ? [] : [{ type, path }];
      }),
    },
    pid: isReady ? (state.holder?.pid ?? 0) : 0,
    ips: isReady ? [...state.ips] : [],
  });
}

function optionalResources(resources: LinuxResources | undefined): WireResources | undefined {
  return resources === undefined ? undefined : resourcesToWire(resources);
}

export interface ContainerFacts {
  readonly container: Container;
  /** Left out where it is no longer to be had: of a container that has been removed. */
  readonly spec?: Spec | undefined;
  /** Of the image's manifest or index. */
  readonly imageDigest?: string | undefined;
}

const states = {
  creating: ContainerState.CONTAINER_CREATED,
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_STOPPED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
} as const satisfies Record<Container['state']['name'], ContainerState>;

export function containerView({ container, spec, imageDigest = '' }: ContainerFacts): ContainerView {
  const { config, state, user } = container;
  const fromSpec = spec === undefined ? ContainerView.fromPartial({}) : specView(spec);
  const linux = fromSpec.linux ?? LinuxContainer.fromPartial({ cgroupsPath: container.cgroupsPath });
  return ContainerView.fromPartial({
    ...fromSpec,
    id: container.id,
    podSandboxId: container.sandboxId,
    name: config.metadata.name,
    state: states[state.name],
    labels: { ...config.labels },
    annotations: { ...config.annotations, ...fromSpec.annotations },
    pid: processesOf(container)?.process.pid ?? 0,
    createdAt: BigInt(container.createdAtNs),
    ...times(state),
    CDIDevices: config.cdiDevices.map((name) => ({ name })),
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.supplementalGroups] },
    image: { name: container.imageReference, digest: imageDigest, configDigest: container.imageId },
    linux: {
      ...linux,
      resources: {
        ...resourcesToWire(container.resources),
        devices: (spec?.linux.resources?.devices ?? []).map(
          ({ allow, type = 'a', major, minor, access = '' }) => ({
            allow,
            type,
            major: major === undefined ? undefined : { value: BigInt(major) },
            minor: minor === undefined ? undefined : { value: BigInt(minor) },
            access,
          }),
        ),
      },
      seccompProfile: profileView(container),
    },
  });
}

function times(state: Container['state']) {
  switch (state.name) {
    case 'running':
      return { startedAt: BigInt(state.startedAtNs) };
    case 'exited':
      return {
        startedAt: BigInt(state.startedAtNs ?? 0),
        finishedAt: BigInt(state.finishedAtNs),
        exitCode: state.exitCode,
        statusReason: state.reason,
        statusMessage: state.message,
      };
    default:
      return {};
  }
}

const profileTypes = {
  'runtime-default': SecurityProfile_ProfileType.RUNTIME_DEFAULT,
  unconfined: SecurityProfile_ProfileType.UNCONFINED,
  localhost: SecurityProfile_ProfileType.LOCALHOST,
} as const satisfies Record<SecurityProfile['type'], SecurityProfile_ProfileType>;

function profileView({ config }: Container) {
  const { seccomp, privileged } = config.linux.security;
  const profile: SecurityProfile = privileged || seccomp === undefined ? { type: 'unconfined' } : seccomp;
  return {
    profileType: profileTypes[profile.type],
    localhostRef: profile.type === 'localhost' ? profile.ref : '',
  };
}
