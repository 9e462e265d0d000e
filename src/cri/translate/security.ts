/** What pods and containers have in common: namespaces, profiles, labels. */
import type {
  NamespaceOption,
  SecurityProfile as WireProfile,
  SELinuxOption,
  UserNamespace as WireUserNamespace,
} from '../../gen/runtime/v1/api.ts';
import { EngineError } from '../../lib/errors.ts';
import type {
  NamespaceChoice,
  NamespaceOptions,
  SecurityProfile,
  SelinuxOptions,
  SupplementalGroupsPolicy,
  UserNamespace,
} from '../../sandbox/pod-config.ts';
import { member, requiredText, textOf } from './fields.ts';

const modes = ['pod', 'container', 'node', 'target'] as const;
const profileTypes = ['runtime-default', 'unconfined', 'localhost'] as const;
const groupPolicies = ['merge', 'strict'] as const;

export function namespacesFromWire(wire: NamespaceOption | undefined, field: string): NamespaceOptions {
  if (wire === undefined) return { network: { mode: 'pod' }, pid: { mode: 'pod' }, ipc: { mode: 'pod' } };
  const choice = (value: number, name: string): NamespaceChoice => {
    const mode = member(modes, value, `${field}.${name}`);
    return mode === 'target'
      ? { mode, targetId: requiredText(wire.targetId, `${field}.target_id`) }
      : { mode };
  };
  const user =
    wire.usernsOptions === undefined
      ? undefined
      : userNamespaceFromWire(wire.usernsOptions, `${field}.userns_options`);
  return {
    network: choice(wire.network, 'network'),
    pid: choice(wire.pid, 'pid'),
    ipc: choice(wire.ipc, 'ipc'),
    user,
  };
}

function userNamespaceFromWire(wire: WireUserNamespace, field: string): UserNamespace {
  const mode = member(modes, wire.mode, `${field}.mode`);
  if (mode !== 'pod' && mode !== 'node')
    throw new EngineError('invalid-argument', `${field}.mode: a user namespace is the pod’s or the node’s`);
  return { mode, uids: wire.uids, gids: wire.gids };
}

export function namespacesToWire(options: NamespaceOptions): NamespaceOption {
  const all = [options.network, options.pid, options.ipc];
  const target = all.find((choice) => choice.mode === 'target');
  return {
    network: modeToWire(options.network),
    pid: modeToWire(options.pid),
    ipc: modeToWire(options.ipc),
    targetId: target?.mode === 'target' ? target.targetId : '',
    usernsOptions: options.user === undefined ? undefined : userNamespaceToWire(options.user),
  };
}

function userNamespaceToWire({ mode, uids, gids }: UserNamespace): WireUserNamespace {
  return { mode: mode === 'pod' ? 0 : 2, uids: [...uids], gids: [...gids] };
}

function modeToWire({ mode }: NamespaceChoice): NamespaceOption['network'] {
  const value = { pod: 0, container: 1, node: 2, target: 3 } as const;
  return value[mode];
}

/**
 * A profile in either of its two wire forms: the message, or the older text (`runtime/default`, `unconfined`,
 * `localhost/<ref>`), which only counts where the message is absent.
 */
export function profileFromWire(
  wire: WireProfile | undefined,
  legacy: string,
  field: string,
): SecurityProfile | undefined {
  if (wire !== undefined) {
    const type = member(profileTypes, wire.profileType, `${field}.profile_type`);
    return type === 'localhost'
      ? { type, ref: requiredText(wire.localhostRef, `${field}.localhost_ref`) }
      : { type };
  }
  if (legacy === '') return undefined;
  if (legacy === 'runtime/default' || legacy === 'docker/default') return { type: 'runtime-default' };
  if (legacy === 'unconfined') return { type: 'unconfined' };
  if (legacy.startsWith('localhost/'))
    return { type: 'localhost', ref: requiredText(legacy.slice('localhost/'.length), field) };
  throw new EngineError(
    'invalid-argument',
    `${field}: ${JSON.stringify(legacy)} is not runtime/default, unconfined or localhost/<profile>`,
  );
}

export function selinuxFromWire(wire: SELinuxOption | undefined): SelinuxOptions | undefined {
  if (wire === undefined) return undefined;
  return {
    user: textOf(wire.user),
    role: textOf(wire.role),
    type: textOf(wire.type),
    level: textOf(wire.level),
  };
}

export function groupPolicyFromWire(value: number, field: string): SupplementalGroupsPolicy {
  return member(groupPolicies, value, field);
}

const highestId = 2 ** 31 - 1;

/** A user or group id. @throws EngineError invalid-argument outside 0..2^31-1 */
export function idFromWire(wire: { readonly value: bigint } | undefined, field: string): number | undefined {
  if (wire === undefined) return undefined;
  return checkedId(wire.value, field);
}

export function checkedId(value: bigint, field: string): number {
  if (value < 0n || value > BigInt(highestId))
    throw new EngineError('invalid-argument', `${field}: ${value} is not between 0 and ${highestId}`);
  return Number(value);
}

/** `run_as_group` alone would give the image's user another group than it was built for. */
export function checkGroupHasUser(hasUser: boolean, group: number | undefined, field: string): void {
  if (group !== undefined && !hasUser)
    throw new EngineError(
      'invalid-argument',
      `${field}.run_as_group: is set without run_as_user or run_as_username`,
    );
}
