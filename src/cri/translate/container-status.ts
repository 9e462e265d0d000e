/** Containers -> the wire. */
import {
  ContainerState as WireState,
  type Container as WireContainer,
  type ContainerStatus,
  type ImageSpec,
  type Mount,
} from '../../gen/runtime/v1/api.ts';
import type { MountRequest } from '../../containers/container-config.ts';
import type { Container } from '../../containers/container.ts';
import type { ImageId } from '../../lib/ids.ts';
import { resourcesToWire } from './resources.ts';
import { signalToWire } from './signals.ts';

export function containerToWire(container: Container): WireContainer {
  const { config } = container;
  return {
    id: container.id,
    podSandboxId: container.sandboxId,
    metadata: { ...config.metadata },
    image: imageSpec(container),
    imageRef: container.imageId,
    state: stateToWire(container),
    createdAt: BigInt(container.createdAtNs),
    labels: { ...config.labels },
    annotations: { ...config.annotations },
    imageId: container.imageId,
  };
}

export function containerStatusToWire(container: Container): ContainerStatus {
  const { config, state, user } = container;
  const isOver = state.name === 'exited';
  return {
    id: container.id,
    metadata: { ...config.metadata },
    state: stateToWire(container),
    createdAt: BigInt(container.createdAtNs),
    startedAt: BigInt((state.name === 'running' || isOver ? state.startedAtNs : undefined) ?? 0),
    finishedAt: BigInt(isOver ? state.finishedAtNs : 0),
    exitCode: isOver ? state.exitCode : 0,
    image: imageSpec(container),
    imageRef: container.imageId,
    reason: isOver ? state.reason : '',
    message: isOver || state.name === 'unknown' ? messageOf(state) : '',
    labels: { ...config.labels },
    annotations: { ...config.annotations },
    mounts: config.mounts.map((mount, index) => mountToWire(mount, container.mountedImages?.[index])),
    logPath: container.logPath ?? '',
    resources: { linux: resourcesToWire(container.resources), windows: undefined },
    imageId: container.imageId,
    user: {
      linux: {
        uid: BigInt(user.uid),
        gid: BigInt(user.gid),
        supplementalGroups: user.supplementalGroups.map(BigInt),
      },
    },
    stopSignal: signalToWire(container.stopSignal),
  };
}

function messageOf(state: { readonly message: string } | { readonly reason: string }): string {
  return 'message' in state ? state.message : state.reason;
}

function imageSpec(container: Container): ImageSpec {
  const { image } = container.config;
  return {
    image: container.imageReference,
    annotations: { ...image.annotations },
    userSpecifiedImage: image.userSpecified ?? '',
    runtimeHandler: container.runtimeHandler,
    imageRef: '',
  };
}

function stateToWire({ state }: Container): WireState {
  switch (state.name) {
    case 'creating':
    case 'created':
      return WireState.CONTAINER_CREATED;
    case 'running':
      return WireState.CONTAINER_RUNNING;
    case 'exited':
      return WireState.CONTAINER_EXITED;
    case 'unknown':
      return WireState.CONTAINER_UNKNOWN;
  }
}

function mountToWire(mount: MountRequest, imageId: ImageId | undefined): Mount {
  const propagation = { private: 0, 'host-to-container': 1, bidirectional: 2 } as const;
  const { image } = mount;
  return {
    containerPath: mount.containerPath,
    hostPath: mount.hostPath ?? '',
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation: propagation[mount.propagation],
    uidMappings: [...mount.uidMappings],
    gidMappings: [...mount.gidMappings],
    recursiveReadOnly: mount.recursiveReadOnly,
    image:
      image === undefined
        ? undefined
        : {
            image: image.reference,
            annotations: { ...image.annotations },
            userSpecifiedImage: image.userSpecified ?? '',
            runtimeHandler: '',
            imageRef: imageId ?? '',
          },
    imageSubPath: mount.imageSubPath ?? '',
  };
}
