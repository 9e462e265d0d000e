/**
 * Changes a spec as plugins ask. They are the administrator's own, yet what they ask for is checked like what a pod asks for:
 * a mistake of theirs must not open the node. Pure.
 */
import { EngineError } from '../../../lib/errors.ts';
import { hookKinds, type Hooks, type Mount, type ProcessSpec, type Spec } from '../../../oci/spec-types.ts';
import { checkSysctls } from '../../../sandbox/sysctls.ts';
import type { LinuxResources, PodConfig } from '../../../sandbox/pod-config.ts';
import { isControlInput } from '../annotations.ts';
import type { CdiEdits } from '../cdi.ts';
import { cleanPath } from '../clean-path.ts';
import type { HostFacts } from '../host-facts.ts';
import { invalidField } from '../invalid-field.ts';
import { buildOomScoreAdj } from '../oom-score.ts';
import { checkArgs } from '../process.ts';
import { buildFirstResources } from '../resources.ts';
import { adjustDevices, cdiDevices } from './devices.ts';
import { adjustEnv } from './env.ts';
import { changedList, changedMap } from './entries.ts';
import type { JoinedNamespaces } from './joined-namespaces.ts';
import { adjustMounts, relabelOption } from './mounts.ts';
import { adjustNamespaces } from './namespaces.ts';
import type { SpecAdjustment } from './spec-adjustment.ts';

export interface AdjustInput {
  readonly spec: Spec;
  readonly adjustment: SpecAdjustment;
  /** All limits as they are to be: what was asked for, with what the adjustment changes. */
  readonly resources: LinuxResources;
  /** What the CDI devices that the adjustment names mean. */
  readonly cdi?: CdiEdits | undefined;
  /** What stands at the paths of namespaces that the adjustment names. */
  readonly joined: JoinedNamespaces;
  readonly pod: Pick<PodConfig, 'namespaces'>;
  readonly host: HostFacts;
}

/**
 * The spec as it is to be.
 *
 * @throws EngineError invalid-argument that names the field, failed-precondition when this node cannot give what was asked
 */
export function adjustSpec(input: AdjustInput): Spec {
  const { spec, adjustment, cdi, host } = input;
  for (const name of Object.keys(adjustment.annotations.set)) {
    if (isControlInput(name))
      throw invalidField('annotations', `${JSON.stringify(name)} would steer the runtime`);
  }
  checkLabels(adjustment.mounts.set, host);
  const { mounts, rootfsPropagation } = adjustMounts(spec, adjustment.mounts, cdi?.mounts ?? []);
  const hooks = joinHooks(joinHooks(spec.hooks ?? {}, cdi?.hooks ?? {}), adjustment.hooks);
  return {
    ...spec,
    process: adjustProcess(input),
    mounts,
    ...(Object.keys(hooks).length === 0 ? {} : { hooks }),
    annotations: changedMap(spec.annotations ?? {}, adjustment.annotations),
    linux: {
      ...adjustLinux(input),
      ...(rootfsPropagation === undefined ? {} : { rootfsPropagation }),
    },
  };
}

/** Where SELinux is off there is nothing to label. */
function checkLabels(mounts: readonly Mount[], { selinuxEnabled }: HostFacts): void {
  const asking = mounts.find(({ options }) => options?.includes(relabelOption) === true);
  if (selinuxEnabled && asking !== undefined)
    throw new EngineError(
      'failed-precondition',
      `mounts: ${JSON.stringify(asking.destination)} cannot be labelled for a plugin`,
    );
}

function adjustProcess({ spec, adjustment, resources, cdi, host }: AdjustInput): ProcessSpec {
  const { process } = spec;
  const { args, rlimits, ioPriority, scheduler } = adjustment;
  if (args !== undefined) checkArgs(args);
  const groups = new Set([...(process.user.additionalGids ?? []), ...(cdi?.additionalGids ?? [])]);
  return {
    ...process,
    user: { ...process.user, additionalGids: [...groups] },
    args: args ?? process.args,
    env: adjustEnv([...(process.env ?? []), ...(cdi?.env ?? [])], adjustment.env),
    rlimits: changedList(process.rlimits ?? [], ({ type }) => type, {
      remove: [],
      set: rlimits.map(checkedRlimit),
    }),
    oomScoreAdj: buildOomScoreAdj(resources.oomScoreAdj, host),
    ...(ioPriority === undefined ? {} : { ioPriority }),
    ...(scheduler === undefined ? {} : { scheduler }),
  };
}

function checkedRlimit(limit: { readonly type: string; readonly soft: number; readonly hard: number }) {
  if (!/^RLIMIT_[A-Z]+$/.test(limit.type))
    throw invalidField('rlimits', `${JSON.stringify(limit.type)} is not a limit such as RLIMIT_NOFILE`);
  if (limit.soft > limit.hard)
    throw invalidField('rlimits', `${limit.type}: ${limit.soft} is above the hard limit ${limit.hard}`);
  return { ...limit, soft: written(limit.soft), hard: written(limit.hard) };
}

/** "Unlimited" is 2^64 - 1 in the spec, which no number here is: it is kept as it is to be written. */
function written(limit: number): number {
  return limit === Infinity ? (rawJson('18446744073709551615') as number) : limit;
}

const { rawJSON: rawJson } = JSON as unknown as { rawJSON(this: void, text: string): unknown };

function adjustLinux({ spec, adjustment, resources, cdi, joined, pod, host }: AdjustInput): Spec['linux'] {
  const { linux } = spec;
  const { seccomp, cgroupsPath, intelRdt, memoryPolicy } = adjustment;
  checkSysctls({ sysctls: adjustment.sysctls.set, namespaces: pod.namespaces });
  const { devices, rules } = adjustDevices(spec, adjustment, cdiDevices(cdi));
  const sysctl = changedMap(linux.sysctl ?? {}, adjustment.sysctls);
  const netDevices = changedMap(linux.netDevices ?? {}, adjustment.netDevices);
  const { intelRdt: oldRdt, ...plain } = linux;
  const rdt = intelRdt === undefined ? oldRdt : { ...(intelRdt.cleared ? {} : oldRdt), ...intelRdt.set };
  return {
    ...plain,
    namespaces: adjustNamespaces(linux.namespaces, adjustment.namespaces, joined),
    resources: { ...linux.resources, devices: rules, ...buildFirstResources(resources, host) },
    ...(cgroupsPath === undefined ? {} : { cgroupsPath }),
    ...(devices.length === 0 ? {} : { devices }),
    ...(Object.keys(sysctl).length === 0 ? {} : { sysctl }),
    ...(Object.keys(netDevices).length === 0 ? {} : { netDevices }),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(rdt === undefined || Object.keys(rdt).length === 0 ? {} : { intelRdt: rdt }),
    ...(memoryPolicy === undefined ? {} : { memoryPolicy }),
  };
}

function joinHooks(first: Hooks, second: Hooks): Hooks {
  const kinds = hookKinds.map((kind) => [kind, [...(first[kind] ?? []), ...(second[kind] ?? [])]] as const);
  for (const [kind, hooks] of kinds) for (const { path } of hooks) cleanPath(path, `hooks.${kind}.path`);
  return Object.fromEntries(kinds.filter(([, hooks]) => hooks.length > 0));
}
