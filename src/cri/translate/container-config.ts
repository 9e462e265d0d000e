/** ContainerConfig -> what the engine is asked for. Pure; every refusal names the field. */
import type {
  ContainerConfig as WireConfig,
  Device,
  ImageSpec,
  LinuxContainerSecurityContext,
  Mount,
} from '../../gen/runtime/v1/api.ts';
import type {
  ContainerConfig,
  ContainerImage,
  ContainerSecurity,
  DeviceRequest,
  MountRequest,
} from '../../containers/container-config.ts';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { absolutePath, member, required, requiredText, textOf } from './fields.ts';
import { resourcesFromWire } from './resources.ts';
import {
  checkedId,
  checkGroupHasUser,
  groupPolicyFromWire,
  idFromWire,
  namespacesFromWire,
  profileFromWire,
  selinuxFromWire,
} from './security.ts';
import { signalFromWire } from './signals.ts';

const propagations = ['private', 'host-to-container', 'bidirectional'] as const;

/** @throws EngineError invalid-argument */
export function containerConfigFromWire(wire: WireConfig | undefined): ContainerConfig {
  const config = required(wire, 'config');
  const metadata = required(config.metadata, 'config.metadata');
  return {
    metadata: { name: requiredText(metadata.name, 'config.metadata.name'), attempt: metadata.attempt },
    image: imageFromWire(required(config.image, 'config.image'), 'config.image'),
    command: config.command,
    args: config.args,
    workingDir: textOf(config.workingDir),
    env: config.envs.map(({ key, value }) => ({
      name: requiredText(key, 'config.envs.key'),
      value: value.toString('utf8'),
    })),
    mounts: config.mounts.map(mountFromWire),
    devices: config.devices.map(deviceFromWire),
    labels: config.labels,
    annotations: config.annotations,
    logPath: textOf(config.logPath),
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    tty: config.tty,
    linux: {
      resources: resourcesFromWire(config.linux?.resources, 'config.linux.resources'),
      security: securityFromWire(config.linux?.securityContext),
    },
    cdiDevices: config.CDIDevices.map(({ name }) => requiredText(name, 'config.CDI_devices.name')),
    stopSignal: signalFromWire(config.stopSignal),
  };
}

/** @throws EngineError invalid-argument */
function imageFromWire(wire: ImageSpec, field: string): ContainerImage {
  return {
    reference: requiredText(wire.image, `${field}.image`),
    userSpecified: textOf(wire.userSpecifiedImage),
    runtimeHandler: textOf(wire.runtimeHandler),
    annotations: wire.annotations,
  };
}

function mountFromWire(wire: Mount, index: number): MountRequest {
  const field = `config.mounts[${index}]`;
  const image =
    wire.image === undefined || wire.image.image === ''
      ? undefined
      : imageFromWire(wire.image, `${field}.image`);
  if (image !== undefined && wire.hostPath !== '')
    throw new EngineError('invalid-argument', `${field}: has both a host_path and an image`);
  if (image === undefined && wire.imageSubPath !== '')
    throw new EngineError('invalid-argument', `${field}.image_sub_path: is set without an image`);
  // Silently read-only, a container would find out at its first write.
  if (image !== undefined && !wire.readonly)
    throw new EngineError('invalid-argument', `${field}.readonly: images are mounted read-only`);
  const mount: MountRequest = {
    containerPath: containerPath(wire.containerPath, `${field}.container_path`),
    hostPath: image === undefined ? absolutePath(wire.hostPath, `${field}.host_path`) : undefined,
    readonly: wire.readonly,
    selinuxRelabel: wire.selinuxRelabel,
    propagation: member(propagations, wire.propagation, `${field}.propagation`),
    uidMappings: wire.uidMappings,
    gidMappings: wire.gidMappings,
    recursiveReadOnly: wire.recursiveReadOnly,
    image,
    imageSubPath: textOf(wire.imageSubPath),
  };
  checkRecursiveReadOnly(mount, field);
  return mount;
}

function containerPath(path: string, field: string): string {
  const text = requiredText(path, field);
  if (text.includes('\0'))
    throw new EngineError('invalid-argument', `${field}: ${quote(text)} is not a path`);
  // Docker's habit, which the kubelet keeps: a relative path is meant from the root.
  return text.startsWith('/') ? text : `/${text}`;
}

function checkRecursiveReadOnly(mount: MountRequest, field: string): void {
  if (!mount.recursiveReadOnly) return;
  if (!mount.readonly)
    throw new EngineError(
      'invalid-argument',
      `${field}.recursive_read_only: is set on a mount that is not readonly`,
    );
  if (mount.propagation !== 'private')
    throw new EngineError('invalid-argument', `${field}.recursive_read_only: needs propagation PRIVATE`);
}

function deviceFromWire(wire: Device, index: number): DeviceRequest {
  const field = `config.devices[${index}]`;
  if (!/^[rwm]{0,3}$/.test(wire.permissions))
    throw new EngineError(
      'invalid-argument',
      `${field}.permissions: ${quote(wire.permissions)} is not made of r, w and m`,
    );
  return {
    containerPath: absolutePath(wire.containerPath, `${field}.container_path`),
    hostPath: absolutePath(wire.hostPath, `${field}.host_path`),
    permissions: textOf(wire.permissions),
  };
}

const noSecurity: ContainerSecurity = {
  capabilities: { add: [], drop: [], addAmbient: [] },
  privileged: false,
  namespaces: namespacesFromWire(undefined, ''),
  readonlyRootfs: false,
  supplementalGroups: [],
  supplementalGroupsPolicy: 'merge',
  noNewPrivileges: false,
};

function securityFromWire(wire: LinuxContainerSecurityContext | undefined): ContainerSecurity {
  if (wire === undefined) return noSecurity;
  const field = 'config.linux.security_context';
  const user = {
    runAsUser: idFromWire(wire.runAsUser, `${field}.run_as_user`),
    runAsUsername: textOf(wire.runAsUsername),
  };
  const runAsGroup = idFromWire(wire.runAsGroup, `${field}.run_as_group`);
  if (user.runAsUser !== undefined && user.runAsUsername !== undefined)
    throw new EngineError('invalid-argument', `${field}: has both run_as_user and run_as_username`);
  checkGroupHasUser(user.runAsUser !== undefined || user.runAsUsername !== undefined, runAsGroup, field);
  return {
    capabilities: {
      add: wire.capabilities?.addCapabilities ?? [],
      drop: wire.capabilities?.dropCapabilities ?? [],
      addAmbient: wire.capabilities?.addAmbientCapabilities ?? [],
    },
    privileged: wire.privileged,
    namespaces: namespacesFromWire(wire.namespaceOptions, `${field}.namespace_options`),
    selinux: selinuxFromWire(wire.selinuxOptions),
    ...user,
    runAsGroup,
    readonlyRootfs: wire.readonlyRootfs,
    supplementalGroups: wire.supplementalGroups.map((gid) => checkedId(gid, `${field}.supplemental_groups`)),
    supplementalGroupsPolicy: groupPolicyFromWire(
      wire.supplementalGroupsPolicy,
      `${field}.supplemental_groups_policy`,
    ),
    noNewPrivileges: wire.noNewPrivs,
    ...pathLists(wire),
    seccomp: profileFromWire(wire.seccomp, wire.seccompProfilePath, `${field}.seccomp`),
    apparmor: profileFromWire(wire.apparmor, wire.apparmorProfile, `${field}.apparmor`),
  };
}

/** The kubelet always sends both lists; it sends them empty for procMount Unmasked and for privileged containers. */
function pathLists(
  wire: LinuxContainerSecurityContext,
): Pick<ContainerSecurity, 'maskedPaths' | 'readonlyPaths'> {
  return { maskedPaths: wire.maskedPaths, readonlyPaths: wire.readonlyPaths };
}
