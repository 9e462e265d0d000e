/** PodSandboxConfig -> what the engine is asked for. Pure; every refusal names the field. */
import type {
  LinuxSandboxSecurityContext,
  PodSandboxConfig,
  PodSandboxMetadata,
  PortMapping as WirePort,
} from '../../gen/runtime/v1/api.ts';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { PodConfig, PodMetadata, PodSecurity, PortMapping } from '../../sandbox/pod-config.ts';
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

const protocols = ['tcp', 'udp', 'sctp'] as const;
const hostNamePattern = /^(?!-)[A-Za-z0-9.-]{1,64}$/;

/** @throws EngineError invalid-argument */
export function podConfigFromWire(wire: PodSandboxConfig | undefined): PodConfig {
  const config = required(wire, 'config');
  const linux = config.linux;
  return {
    metadata: podMetadataFromWire(config.metadata),
    hostname: hostname(config.hostname),
    logDirectory:
      config.logDirectory === '' ? undefined : absolutePath(config.logDirectory, 'config.log_directory'),
    dns: config.dnsConfig,
    portMappings: config.portMappings.map(portFromWire),
    labels: config.labels,
    annotations: config.annotations,
    cgroupParent: textOf(linux?.cgroupParent ?? ''),
    sysctls: linux?.sysctls ?? {},
    namespaces: namespacesFromWire(
      linux?.securityContext?.namespaceOptions,
      'config.linux.security_context.namespace_options',
    ),
    security: podSecurity(linux?.securityContext),
    overhead:
      linux?.overhead === undefined ? undefined : resourcesFromWire(linux.overhead, 'config.linux.overhead'),
    resources:
      linux?.resources === undefined
        ? undefined
        : resourcesFromWire(linux.resources, 'config.linux.resources'),
  };
}

function podMetadataFromWire(wire: PodSandboxMetadata | undefined): PodMetadata {
  const { name, uid, namespace, attempt } = required(wire, 'config.metadata');
  return {
    name: requiredText(name, 'config.metadata.name'),
    uid: requiredText(uid, 'config.metadata.uid'),
    namespace: requiredText(namespace, 'config.metadata.namespace'),
    attempt,
  };
}

function hostname(text: string): string | undefined {
  if (text === '') return undefined;
  if (!hostNamePattern.test(text))
    throw new EngineError(
      'invalid-argument',
      `config.hostname: ${quote(text)} is not a host name of at most 64 characters`,
    );
  return text;
}

function portFromWire(wire: WirePort, index: number): PortMapping {
  const field = `config.port_mappings[${index}]`;
  const inRange = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65535;
  if (!inRange(wire.containerPort) || wire.containerPort === 0)
    throw new EngineError('invalid-argument', `${field}.container_port: ${wire.containerPort} is not a port`);
  if (!inRange(wire.hostPort))
    throw new EngineError('invalid-argument', `${field}.host_port: ${wire.hostPort} is not a port`);
  return {
    protocol: member(protocols, wire.protocol, `${field}.protocol`),
    containerPort: wire.containerPort,
    hostPort: wire.hostPort === 0 ? undefined : wire.hostPort,
    hostIp: textOf(wire.hostIp),
  };
}

function podSecurity(wire: LinuxSandboxSecurityContext | undefined): PodSecurity {
  const field = 'config.linux.security_context';
  if (wire === undefined)
    return {
      readonlyRootfs: false,
      supplementalGroups: [],
      supplementalGroupsPolicy: 'merge',
      privileged: false,
    };
  const runAsGroup = idFromWire(wire.runAsGroup, `${field}.run_as_group`);
  checkGroupHasUser(wire.runAsUser !== undefined, runAsGroup, field);
  return {
    selinux: selinuxFromWire(wire.selinuxOptions),
    runAsUser: idFromWire(wire.runAsUser, `${field}.run_as_user`),
    runAsGroup,
    readonlyRootfs: wire.readonlyRootfs,
    supplementalGroups: wire.supplementalGroups.map((gid) => checkedId(gid, `${field}.supplemental_groups`)),
    supplementalGroupsPolicy: groupPolicyFromWire(
      wire.supplementalGroupsPolicy,
      `${field}.supplemental_groups_policy`,
    ),
    privileged: wire.privileged,
    seccomp: profileFromWire(wire.seccomp, wire.seccompProfilePath, `${field}.seccomp`),
    apparmor: profileFromWire(wire.apparmor, '', `${field}.apparmor`),
  };
}
