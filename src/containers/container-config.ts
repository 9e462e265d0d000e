/**
 * What a caller asks of a container, in the engine's own words. Made from the wire by a face, stored in records as JSON.
 * `undefined` means that the caller left it to us: there are no empty strings and no zeros with a meaning.
 */
import type {
  IdMapping,
  LinuxResources,
  NamespaceOptions,
  SecurityProfile,
  SelinuxOptions,
  SupplementalGroupsPolicy,
} from '../sandbox/pod-config.ts';

/** What a container is called by its owner; unique within its pod. */
interface ContainerMetadata {
  readonly name: string;
  readonly attempt: number;
}

/** Which image. */
export interface ContainerImage {
  /** An image id, a digest reference or a name: what this node resolves. */
  readonly reference: string;
  /** What the user wrote in the pod, for show. */
  readonly userSpecified?: string | undefined;
  readonly runtimeHandler?: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** One environment variable of the request. */
export interface EnvVar {
  readonly name: string;
  readonly value: string;
}

/** Which way later mounts below a mount are passed on: `rprivate`, `rslave` or `rshared`. */
type MountPropagation = 'private' | 'host-to-container' | 'bidirectional';

/** A mount of the request: of a host path, or of an image (then `hostPath` is left out and it is read-only). */
export interface MountRequest {
  readonly containerPath: string;
  readonly hostPath?: string | undefined;
  readonly readonly: boolean;
  readonly selinuxRelabel: boolean;
  readonly propagation: MountPropagation;
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  /** Mounts below it are read-only as well; needs `readonly` and private propagation. */
  readonly recursiveReadOnly: boolean;
  readonly image?: ContainerImage | undefined;
  readonly imageSubPath?: string | undefined;
}

/** A host device to show in the container; a directory on the host means all devices below it. */
export interface DeviceRequest {
  readonly containerPath: string;
  readonly hostPath: string;
  /** Some of `r`, `w`, `m`; left out: all. */
  readonly permissions?: string | undefined;
}

/** Capability names with or without `CAP_`, or `ALL`. */
interface CapabilityRequest {
  readonly add: readonly string[];
  readonly drop: readonly string[];
  readonly addAmbient: readonly string[];
}

/** The security settings of a container's first process and of every exec. */
export interface ContainerSecurity {
  readonly capabilities: CapabilityRequest;
  readonly privileged: boolean;
  readonly namespaces: NamespaceOptions;
  readonly selinux?: SelinuxOptions | undefined;
  /** At most one of `runAsUser` and `runAsUsername` is given. */
  readonly runAsUser?: number | undefined;
  readonly runAsUsername?: string | undefined;
  /** Refused without a user. */
  readonly runAsGroup?: number | undefined;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly number[];
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
  readonly noNewPrivileges: boolean;
  /** Left out: the engine's own list. An empty list masks nothing. */
  readonly maskedPaths?: readonly string[] | undefined;
  /** Left out: the engine's own list. An empty list protects nothing. */
  readonly readonlyPaths?: readonly string[] | undefined;
  /** Left out: unconfined. */
  readonly seccomp?: SecurityProfile | undefined;
  /** Left out: the engine's default profile where AppArmor is on. */
  readonly apparmor?: SecurityProfile | undefined;
}

/** The Linux part of a container. */
interface LinuxContainer {
  readonly resources: LinuxResources;
  readonly security: ContainerSecurity;
}

/** A container as it was asked for. Labels and annotations are handed back unaltered. */
export interface ContainerConfig {
  readonly metadata: ContainerMetadata;
  readonly image: ContainerImage;
  /** Takes the place of the image's entrypoint when it is not empty. */
  readonly command: readonly string[];
  /** Takes the place of the image's cmd when it is not empty. */
  readonly args: readonly string[];
  readonly workingDir?: string | undefined;
  readonly env: readonly EnvVar[];
  readonly mounts: readonly MountRequest[];
  readonly devices: readonly DeviceRequest[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Relative to the pod's log directory. */
  readonly logPath?: string | undefined;
  readonly stdin: boolean;
  /** Stdin closes when the first attached client leaves. */
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly linux: LinuxContainer;
  /** Fully qualified CDI names, such as `vendor.com/gpu=0`. */
  readonly cdiDevices: readonly string[];
  /** A signal name such as `SIGTERM` or `SIGRTMIN+3`; left out: the image's, then SIGTERM. */
  readonly stopSignal?: string | undefined;
}
