/** Everything that a spec is made from. All input and output of the outside world has happened before. */
import type { Device } from '../../oci/spec-types.ts';
import type { PodConfig } from '../../sandbox/pod-config.ts';
import type { ContainerConfig, MountRequest } from '../container-config.ts';
import type { CdiEdits } from './cdi.ts';
import type { HostFacts } from './host-facts.ts';

/** The part of an image's configuration that a spec takes up. */
interface ImageDefaults {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  /** Empty for none. */
  readonly workingDir: string;
}

/** A user of the container, looked up. `supplementalGroups` begins with the primary group. */
export interface SpecUser {
  readonly uid: number;
  readonly gid: number;
  readonly supplementalGroups: readonly number[];
  readonly home: string;
}

/** A mount of the request whose source has been found: symlinks followed, an image mounted. */
export interface SpecMount {
  readonly request: MountRequest;
  readonly source: string;
  /** How the mount below `source` propagates on the host; left out where it was not looked up. */
  readonly sourcePropagation?: 'private' | 'slave' | 'shared' | undefined;
}

/** What the sandbox gives its containers. A namespace that is left out is the node's; a file, not made. */
export interface SandboxParts {
  readonly id: string;
  readonly namespaces: {
    readonly net?: string | undefined;
    readonly ipc?: string | undefined;
    readonly uts?: string | undefined;
    readonly pid?: string | undefined;
    readonly user?: string | undefined;
  };
  /** Host paths that are bound into each container. */
  readonly files: {
    readonly shm?: string | undefined;
    readonly hosts?: string | undefined;
    readonly hostname?: string | undefined;
    readonly resolvConf?: string | undefined;
  };
}

/** A device for the container and what its processes may do with it (`r`, `w`, `m`). */
export interface GrantedDevice {
  readonly device: Device;
  /** Where it is on the node, if that is not where the container has it. */
  readonly hostPath?: string | undefined;
  readonly permissions: string;
}

/** What the configuration of the engine and of the runtime handler adds. */
export interface SpecDefaults {
  readonly openFiles: { readonly soft: number; readonly hard: number };
  /** Left out: no limit beside the pod's. */
  readonly pidsLimit?: number | undefined;
  /** Annotations that the handler's runtime may see: names, or prefixes that end in `*`. */
  readonly passedOnAnnotations: readonly string[];
}

/** The whole input of `buildSpec`. */
export interface SpecInput {
  readonly pod: PodConfig;
  readonly container: ContainerConfig;
  readonly imageConfig: ImageDefaults;
  readonly user: SpecUser;
  readonly host: HostFacts;
  readonly defaults: SpecDefaults;
  readonly sandbox: SandboxParts;
  /** `/proc/PID/ns` of the container that a namespace mode of `target` names. */
  readonly targetNamespaces?: string | undefined;
  /** Absolute path of the mounted root filesystem. */
  readonly rootfs: string;
  /** As the OCI spec names it: a path, or `slice:prefix:name`. */
  readonly cgroupsPath: string;
  readonly mounts: readonly SpecMount[];
  /** Volumes that the image declares, already made on the host; a mount of the request at the same place wins. */
  readonly volumes: readonly { readonly path: string; readonly source: string }[];
  /** The request's devices, looked up. */
  readonly devices: readonly GrantedDevice[];
  /** All devices of the node; used by privileged containers only. */
  readonly hostDevices: readonly Device[];
  readonly loadedApparmorProfiles: ReadonlySet<string>;
  /** The text of the localhost seccomp profile, where the request names one. */
  readonly seccompProfile?: string | undefined;
  readonly cdi?: CdiEdits | undefined;
}
