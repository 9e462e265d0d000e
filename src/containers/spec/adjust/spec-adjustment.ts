/** What is to be changed of a spec that has been built, in the words of the OCI specification. All checked when it is applied. */
import type {
  Device,
  DeviceRule,
  Hooks,
  Linux,
  Mount,
  ProcessSpec,
  Rlimit,
  Seccomp,
} from '../../../oci/spec-types.ts';
import type { LinuxResources } from '../../../sandbox/pod-config.ts';
import type { EnvVar } from '../../container-config.ts';

/** Entries to take away, by key, and then entries to add or to put in the place of others. */
export interface ListChange<T> {
  readonly remove: readonly string[];
  readonly set: readonly T[];
}

/** The same for entries by name. */
export interface MapChange<T> {
  readonly remove: readonly string[];
  readonly set: Readonly<Record<string, T>>;
}

export interface SpecAdjustment {
  readonly annotations: MapChange<string>;
  readonly env: ListChange<EnvVar>;
  /** Left out: those of the request. */
  readonly args?: readonly string[] | undefined;
  /** `Infinity` is unlimited. */
  readonly rlimits: readonly Rlimit[];
  readonly mounts: ListChange<Mount>;
  readonly hooks: Hooks;
  readonly cdiDevices: readonly string[];
  readonly devices: ListChange<Device>;
  readonly deviceRules: readonly DeviceRule[];
  /** Only what is to be different. */
  readonly resources: LinuxResources;
  readonly cgroupsPath?: string | undefined;
  readonly namespaces: ListChange<{ readonly type: string; readonly path?: string }>;
  readonly sysctls: MapChange<string>;
  readonly netDevices: MapChange<{ readonly name?: string }>;
  readonly seccomp?: Seccomp | undefined;
  readonly ioPriority?: ProcessSpec['ioPriority'] | undefined;
  readonly scheduler?: ProcessSpec['scheduler'] | undefined;
  /** `cleared`: what was there goes first. */
  readonly intelRdt?: { readonly cleared: boolean; readonly set: Linux['intelRdt'] } | undefined;
  readonly memoryPolicy?: Linux['memoryPolicy'] | undefined;
}
