import { EngineError } from '../../lib/errors.ts';
import type { IdMapping as OciIdMapping, Linux, Namespace, NamespaceType } from '../../oci/spec-types.ts';
import type { IdMapping, NamespaceChoice, UserNamespace } from '../../sandbox/pod-config.ts';
import { invalidField } from './invalid-field.ts';
import type { SpecInput } from './spec-input.ts';

/** Namespaces and user mappings of a container. @throws EngineError invalid-argument */
export function buildNamespaces(input: SpecInput): Pick<Linux, 'namespaces' | 'uidMappings' | 'gidMappings'> {
  const { network, pid, ipc } = input.container.linux.security.namespaces;
  const { namespaces: own } = input.sandbox;
  const { namespaces: pod } = input.pod;
  const namespaces: Namespace[] = [
    { type: 'mount' },
    ...choose(input, {
      type: 'network',
      file: 'net',
      choice: ofPod(network),
      podMode: pod.network.mode,
      podPath: own.net,
    }),
    ...choose(input, { type: 'ipc', file: 'ipc', choice: ipc, podMode: pod.ipc.mode, podPath: own.ipc }),
    // The host name follows the network: the node's with the node's network, else the pod's.
    ...choose(input, {
      type: 'uts',
      file: 'uts',
      choice: { mode: 'pod' },
      podMode: pod.network.mode,
      podPath: own.uts,
    }),
    ...choose(input, { type: 'pid', file: 'pid', choice: pid, podMode: pod.pid.mode, podPath: own.pid }),
    ...(needsCgroupNamespace(input) ? [{ type: 'cgroup' as const }] : []),
  ];
  const user = buildUserNamespace(input);
  return user === undefined
    ? { namespaces }
    : {
        namespaces: [...namespaces, user.namespace],
        uidMappings: user.uidMappings,
        gidMappings: user.gidMappings,
      };
}

interface Choice {
  readonly type: NamespaceType;
  /** Its name below `/proc/PID/ns`. */
  readonly file: string;
  readonly choice: NamespaceChoice;
  readonly podMode: NamespaceChoice['mode'];
  readonly podPath: string | undefined;
}

function choose(input: SpecInput, { type, file, choice, podMode, podPath }: Choice): Namespace[] {
  switch (choice.mode) {
    case 'node':
      return [];
    case 'container':
      return [{ type }];
    case 'target':
      return [{ type, path: targetPath(input, file) }];
    case 'pod':
      if (podPath !== undefined) return [{ type, path: podPath }];
      // A spec without an entry means the node's namespace: never by mistake.
      if (podMode === 'node') return [];
      throw invalidField(
        `namespace_options.${type}`,
        'the pod’s was asked for, but the sandbox was made without one to share',
      );
  }
}

/** No caller can describe a network for one container alone: its own one would have no address. It shares the pod's. */
function ofPod(choice: NamespaceChoice): NamespaceChoice {
  return choice.mode === 'container' ? { mode: 'pod' } : choice;
}

function targetPath({ targetNamespaces }: SpecInput, file: string): string {
  if (targetNamespaces === undefined) {
    throw new EngineError(
      'failed-precondition',
      'namespace_options.target_id: the target container is not running',
    );
  }
  return `${targetNamespaces}/${file}`;
}

/** Hides the cgroups of others; on v1 and for privileged containers it would hide what they expect to see. */
function needsCgroupNamespace({ host, container }: SpecInput): boolean {
  return host.cgroupVersion === 'v2' && !container.linux.security.privileged;
}

function buildUserNamespace(input: SpecInput) {
  const { pod, container, sandbox } = input;
  const user = container.linux.security.namespaces.user;
  const podUser = pod.namespaces.user;
  if (!hasSameMappings(user, podUser)) {
    throw invalidField(
      'namespace_options.userns_options',
      'the container’s user namespace differs from its pod’s',
    );
  }
  if (user === undefined || user.mode === 'node' || user.uids.length === 0) return undefined;
  if (sandbox.namespaces.user === undefined) {
    throw new EngineError('internal', 'the sandbox has no user namespace although its pod asks for one');
  }
  checkMapped(input, user);
  return {
    namespace: { type: 'user' as const, path: sandbox.namespaces.user },
    uidMappings: toOciMappings(user.uids),
    gidMappings: toOciMappings(user.gids),
  };
}

/** The kernel makes no process of a user or group that the namespace does not have, and shows it no process of the node. */
function checkMapped(
  { container, user: { uid, gid, supplementalGroups } }: SpecInput,
  user: UserNamespace,
): void {
  const { pid, ipc } = container.linux.security.namespaces;
  if (pid.mode === 'node' || ipc.mode === 'node')
    throw invalidField('namespace_options', 'a pod with a user namespace has no namespace of the node');
  const isMapped = (ranges: readonly IdMapping[], id: number): boolean =>
    ranges.some(({ containerId, length }) => id >= containerId && id - containerId < length);
  if (!isMapped(user.uids, uid))
    throw invalidField('run_as_user', `user ${uid} is not in the pod’s user namespace`);
  const group = [gid, ...supplementalGroups].find((id) => !isMapped(user.gids, id));
  if (group !== undefined)
    throw invalidField('supplemental_groups', `group ${group} is not in the pod’s user namespace`);
}

type UserChoice = SpecInput['pod']['namespaces']['user'];

function hasSameMappings(one: UserChoice, other: UserChoice): boolean {
  const plain = (choice: UserChoice) =>
    choice === undefined || choice.mode === 'node'
      ? ''
      : JSON.stringify([choice.uids, choice.gids].map(toKeys));
  const empty = JSON.stringify([[], []]);
  const [first, second] = [one, other].map((choice) => plain(choice).replace(empty, ''));
  return first === second;
}

function toKeys(mappings: readonly IdMapping[]): string[] {
  return mappings.map(({ hostId, containerId, length }) => `${hostId} ${containerId} ${length}`);
}

/** The same mappings in the words of the OCI spec. */
export function toOciMappings(mappings: readonly IdMapping[]): OciIdMapping[] {
  return mappings.map(({ hostId, containerId, length }) => ({
    containerID: containerId,
    hostID: hostId,
    size: length,
  }));
}
