/** What plugins are shown of a container's OCI spec. */
import {
  Container,
  IOPrioClass,
  LinuxContainer,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  LinuxSeccomp,
} from '../../gen/nri/v1alpha1/api.ts';
import {
  hookKinds,
  type Hooks,
  type Linux,
  type ProcessSpec,
  type Rlimit,
  type Seccomp,
  type Spec,
} from '../../oci/spec-types.ts';

const unlimited = 2n ** 64n - 1n;

/** The part of a plugin's view that the spec holds. */
export function specView({ process, mounts, hooks = {}, annotations = {}, linux }: Spec): Partial<Container> {
  return Container.fromPartial({
    annotations,
    args: [...process.args],
    env: [...(process.env ?? [])],
    mounts: mounts.map(({ destination, type = '', source = '', options = [] }) => ({
      destination,
      type,
      source,
      options: [...options],
    })),
    hooks: hooksView(hooks),
    rlimits: (process.rlimits ?? []).map(rlimitView),
    linux: linuxView(linux, process),
  });
}

function hooksView(hooks: Hooks) {
  const kinds = hookKinds.map((kind) => [
    kind,
    (hooks[kind] ?? []).map(({ path, args = [], env = [], timeout }) => ({
      path,
      args: [...args],
      env: [...env],
      timeout: timeout === undefined ? undefined : { value: BigInt(timeout) },
    })),
  ]);
  return Object.fromEntries(kinds) as Container['hooks'];
}

/** What was written as the highest number comes back as the next higher one that a double can hold. */
function rlimitView({ type, hard, soft }: Rlimit) {
  const bounded = (value: number): bigint => (BigInt(value) > unlimited ? unlimited : BigInt(value));
  return { type, hard: bounded(hard), soft: bounded(soft) };
}

function linuxView(linux: Linux, { oomScoreAdj, ioPriority, scheduler }: ProcessSpec): LinuxContainer {
  const { intelRdt } = linux;
  return LinuxContainer.fromPartial({
    namespaces: linux.namespaces.map(({ type, path = '' }) => ({ type, path })),
    devices: (linux.devices ?? []).map(({ path, type, major = 0, minor = 0, fileMode, uid, gid }) => ({
      path,
      type,
      major: BigInt(major),
      minor: BigInt(minor),
      fileMode: boxed(fileMode),
      uid: boxed(uid),
      gid: boxed(gid),
    })),
    oomScoreAdj: oomScoreAdj === undefined ? undefined : { value: BigInt(oomScoreAdj) },
    cgroupsPath: linux.cgroupsPath ?? '',
    ioPriority:
      ioPriority === undefined
        ? undefined
        : { class: numberFor(IOPrioClass, ioPriority.class), priority: ioPriority.priority },
    seccompPolicy: linux.seccomp === undefined ? undefined : seccompView(linux.seccomp),
    sysctl: { ...linux.sysctl },
    netDevices: Object.fromEntries(
      Object.entries(linux.netDevices ?? {}).map(([host, { name = '' }]) => [host, { name }]),
    ),
    scheduler: scheduler === undefined ? undefined : schedulerView(scheduler),
    rdt:
      intelRdt === undefined
        ? undefined
        : {
            closId: boxed(intelRdt.closID),
            schemata: intelRdt.schemata === undefined ? undefined : { value: [...intelRdt.schemata] },
            enableMonitoring: boxed(intelRdt.enableMonitoring),
          },
  });
}

function schedulerView(scheduler: NonNullable<ProcessSpec['scheduler']>) {
  const { policy, nice = 0, priority = 0, flags = [], runtime = 0, deadline = 0, period = 0 } = scheduler;
  return {
    policy: numberFor(LinuxSchedulerPolicy, policy),
    nice,
    priority,
    flags: flags.map((flag) => numberFor(LinuxSchedulerFlag, flag)),
    runtime: BigInt(runtime),
    deadline: BigInt(deadline),
    period: BigInt(period),
  };
}

function seccompView(seccomp: Seccomp): LinuxSeccomp {
  return LinuxSeccomp.fromPartial({
    defaultAction: seccomp.defaultAction,
    defaultErrno: boxed(seccomp.defaultErrnoRet),
    architectures: [...(seccomp.architectures ?? [])],
    flags: [...(seccomp.flags ?? [])],
    listenerPath: seccomp.listenerPath ?? '',
    listenerMetadata: seccomp.listenerMetadata ?? '',
    syscalls: (seccomp.syscalls ?? []).map(({ names, action, errnoRet, args = [] }) => ({
      names: [...names],
      action,
      errnoRet: boxed(errnoRet),
      args: args.map(({ index, value, valueTwo = 0, op }) => ({
        index,
        value: BigInt(value),
        valueTwo: BigInt(valueTwo),
        op,
      })),
    })),
  });
}

function boxed<T>(value: T | undefined): { value: T } | undefined {
  return value === undefined ? undefined : { value };
}

/** The number of a constant; 0, which means "none", for a name that the wire does not have. */
function numberFor<T extends number>(names: Readonly<Record<string, T>>, name: string): T {
  return names[name] ?? (0 as T);
}
