/** What plugins ask for a new container, from the wire's words to those of the spec. Pure; checked when it is applied. */
import {
  IOPrioClass,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  MpolFlag,
  MpolMode,
  type ContainerAdjustment,
  type Hooks as WireHooks,
  type LinuxContainerAdjustment,
  type LinuxDevice,
  type LinuxDeviceCgroup,
  type LinuxRdt,
  type LinuxScheduler,
  type LinuxSeccomp,
} from '../../gen/nri/v1alpha1/api.ts';
import type { ListChange, MapChange, SpecAdjustment } from '../../containers/spec/adjust/spec-adjustment.ts';
import { EngineError } from '../../lib/errors.ts';
import { removalOf } from '../../nri/merge/owners.ts';
import type { Device, DeviceRule, Hooks, Seccomp } from '../../oci/spec-types.ts';
import { nameOf, numberOf } from './numbers.ts';
import { resourcesFromWire } from './resources.ts';

/** @throws EngineError invalid-argument that names the field */
export function adjustmentFromWire(wire: ContainerAdjustment): SpecAdjustment {
  return {
    annotations: mapChange(wire.annotations, (value) => value),
    env: listChange(
      wire.env,
      ({ key }) => key,
      ({ key, value }) => ({ name: key, value }),
    ),
    args: wire.args.length === 0 ? undefined : wire.args,
    rlimits: wire.rlimits.map(({ type, soft, hard }) => ({ type, soft: limitOf(soft), hard: limitOf(hard) })),
    mounts: listChange(
      wire.mounts,
      ({ destination }) => destination,
      ({ destination, type, source, options }) => ({
        destination,
        ...(type === '' ? {} : { type }),
        source,
        options,
      }),
    ),
    hooks: wire.hooks === undefined ? {} : hooksFromWire(wire.hooks),
    cdiDevices: wire.CDIDevices.map(({ name }) => name),
    ...linuxFromWire(wire.linux),
  };
}

type LinuxPart = Omit<
  SpecAdjustment,
  'annotations' | 'env' | 'args' | 'rlimits' | 'mounts' | 'hooks' | 'cdiDevices'
>;

const emptyList = { remove: [], set: [] };
const emptyMap = { remove: [], set: {} };

function linuxFromWire(linux: LinuxContainerAdjustment | undefined): LinuxPart {
  if (linux === undefined)
    return {
      devices: emptyList,
      deviceRules: [],
      resources: { hugepageLimits: [] },
      namespaces: emptyList,
      sysctls: emptyMap,
      netDevices: emptyMap,
    };
  const { resources, oomScoreAdj, cgroupsPath, ioPriority, scheduler, seccompPolicy, memoryPolicy } = linux;
  return {
    devices: listChange(linux.devices, ({ path }) => path, deviceFromWire),
    deviceRules: (resources?.devices ?? []).map(ruleFromWire),
    resources: {
      ...(resources === undefined ? { hugepageLimits: [] } : resourcesFromWire(resources)),
      ...(oomScoreAdj === undefined ? {} : { oomScoreAdj: numberOf(oomScoreAdj.value, 'oom_score_adj') }),
    },
    cgroupsPath: cgroupsPath === '' ? undefined : cgroupsPath,
    namespaces: listChange(
      linux.namespaces,
      ({ type }) => type,
      ({ type, path }) => ({ type, ...(path === '' ? {} : { path }) }),
    ),
    sysctls: mapChange(linux.sysctl, (value) => value),
    netDevices: mapChange(linux.netDevices, ({ name }) => (name === '' ? {} : { name })),
    seccomp: seccompPolicy === undefined ? undefined : seccompFromWire(seccompPolicy),
    ioPriority:
      ioPriority === undefined
        ? undefined
        : {
            class: nameOf(IOPrioClass, ioPriority.class, 'io_priority.class'),
            priority: ioPriority.priority,
          },
    scheduler: scheduler === undefined ? undefined : schedulerFromWire(scheduler),
    intelRdt: rdtFromWire(linux),
    memoryPolicy:
      memoryPolicy === undefined
        ? undefined
        : {
            mode: nameOf(MpolMode, memoryPolicy.mode, 'memory_policy.mode'),
            nodes: memoryPolicy.nodes,
            flags: memoryPolicy.flags.map((flag) => nameOf(MpolFlag, flag, 'memory_policy.flags')),
          },
  };
}

function listChange<W, T>(
  entries: readonly W[],
  keyOf: (entry: W) => string,
  translate: (entry: W) => T,
): ListChange<T> {
  return {
    remove: entries.flatMap((entry) => removalOf(keyOf(entry)) ?? []),
    set: entries.filter((entry) => removalOf(keyOf(entry)) === undefined).map(translate),
  };
}

function mapChange<W, T>(entries: Readonly<Record<string, W>>, translate: (value: W) => T): MapChange<T> {
  const { remove, set } = listChange(
    Object.entries(entries),
    ([key]) => key,
    ([key, value]): [string, T] => [key, translate(value)],
  );
  return { remove, set: Object.fromEntries(set) };
}

/** What no double can tell from "unlimited" is unlimited. */
function limitOf(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(value);
}

function hooksFromWire(hooks: WireHooks): Hooks {
  const kinds = Object.entries(hooks).map(([kind, list]) => [
    kind,
    (list as WireHooks[keyof WireHooks]).map(({ path, args, env, timeout }) => ({
      path,
      ...(args.length === 0 ? {} : { args }),
      ...(env.length === 0 ? {} : { env }),
      ...(timeout === undefined ? {} : { timeout: numberOf(timeout.value, 'hooks.timeout') }),
    })),
  ]);
  return Object.fromEntries(kinds) as Hooks;
}

function deviceFromWire({ path, type, major, minor, fileMode, uid, gid }: LinuxDevice): Device {
  if (type !== 'b' && type !== 'c' && type !== 'u' && type !== 'p')
    throw new EngineError('invalid-argument', `devices.type: ${JSON.stringify(type)} is not b, c, u or p`);
  return {
    path,
    type,
    ...(type === 'p'
      ? {}
      : { major: numberOf(major, 'devices.major'), minor: numberOf(minor, 'devices.minor') }),
    ...(fileMode === undefined ? {} : { fileMode: fileMode.value }),
    ...(uid === undefined ? {} : { uid: uid.value }),
    ...(gid === undefined ? {} : { gid: gid.value }),
  };
}

function ruleFromWire({ allow, type, major, minor, access }: LinuxDeviceCgroup): DeviceRule {
  if (type !== '' && type !== 'a' && type !== 'b' && type !== 'c')
    throw new EngineError(
      'invalid-argument',
      `resources.devices.type: ${JSON.stringify(type)} is not a, b or c`,
    );
  return {
    allow,
    ...(type === '' ? {} : { type }),
    ...(major === undefined ? {} : { major: numberOf(major.value, 'resources.devices.major') }),
    ...(minor === undefined ? {} : { minor: numberOf(minor.value, 'resources.devices.minor') }),
    ...(access === '' ? {} : { access }),
  };
}

/** The words of the policy are libseccomp's: the runtime refuses those that it does not know. */
function seccompFromWire(policy: LinuxSeccomp): Seccomp {
  const { defaultAction, defaultErrno, architectures, flags, listenerPath, listenerMetadata } = policy;
  const syscalls = policy.syscalls.map(({ names, action, errnoRet, args }) => ({
    names,
    action,
    ...(errnoRet === undefined ? {} : { errnoRet: errnoRet.value }),
    ...(args.length === 0
      ? {}
      : {
          args: args.map(({ index, value, valueTwo, op }) => ({
            index,
            value: numberOf(value, 'seccomp_policy.args.value'),
            valueTwo: numberOf(valueTwo, 'seccomp_policy.args.value_two'),
            op,
          })),
        }),
  }));
  return {
    defaultAction,
    ...(defaultErrno === undefined ? {} : { defaultErrnoRet: defaultErrno.value }),
    ...(architectures.length === 0 ? {} : { architectures }),
    ...(flags.length === 0 ? {} : { flags }),
    ...(listenerPath === '' ? {} : { listenerPath }),
    ...(listenerMetadata === '' ? {} : { listenerMetadata }),
    syscalls,
  } as Seccomp;
}

function schedulerFromWire(scheduler: LinuxScheduler): SpecAdjustment['scheduler'] {
  const { policy, nice, priority, flags, runtime, deadline, period } = scheduler;
  return {
    policy: nameOf(LinuxSchedulerPolicy, policy, 'scheduler.policy'),
    ...(nice === 0 ? {} : { nice }),
    ...(priority === 0 ? {} : { priority }),
    ...(flags.length === 0
      ? {}
      : { flags: flags.map((flag) => nameOf(LinuxSchedulerFlag, flag, 'scheduler.flags')) }),
    ...(runtime === 0n ? {} : { runtime: numberOf(runtime, 'scheduler.runtime') }),
    ...(deadline === 0n ? {} : { deadline: numberOf(deadline, 'scheduler.deadline') }),
    ...(period === 0n ? {} : { period: numberOf(period, 'scheduler.period') }),
  };
}

/** A class is a CLOS by name, as the peers take it; an empty one clears what was there. */
function rdtFromWire({ rdt, resources }: LinuxContainerAdjustment): SpecAdjustment['intelRdt'] {
  const rdtClass = resources?.rdtClass?.value;
  if (rdt === undefined && rdtClass === undefined) return undefined;
  const isCleared = rdtClass === '';
  const closID = rdt?.closId?.value ?? (isCleared ? undefined : rdtClass);
  return {
    cleared: isCleared || rdt?.remove === true,
    set: { ...(closID === undefined ? {} : { closID }), ...rdtSettings(rdt) },
  };
}

function rdtSettings({ schemata, enableMonitoring }: Partial<LinuxRdt> = {}) {
  return {
    ...(schemata === undefined ? {} : { schemata: schemata.value }),
    ...(enableMonitoring === undefined ? {} : { enableMonitoring: enableMonitoring.value }),
  };
}
