/**
 * What a caller asks of a pod sandbox, in the engine's own words. Made from the wire by a face, stored in records as JSON.
 * `undefined` means that the caller left it to us: there are no empty strings and no zeros with a meaning.
 * Ids, ports and byte counts are integers below 2^53; the face refuses what does not fit.
 */

/** One range of a user-namespace mapping. */
export interface IdMapping {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

/** Whose namespace: the pod's, an own one, the node's, or that of another container of the pod. */
export type NamespaceChoice =
  | { readonly mode: 'pod' | 'container' | 'node' }
  | { readonly mode: 'target'; readonly targetId: string };

/** `node` has no mappings; `pod` has exactly one in each list when the caller wants a user namespace, else none. */
export interface UserNamespace {
  readonly mode: 'pod' | 'node';
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

/** The namespaces of a pod or of a container in it. `user` left out: no user namespace. */
export interface NamespaceOptions {
  readonly network: NamespaceChoice;
  readonly pid: NamespaceChoice;
  readonly ipc: NamespaceChoice;
  readonly user?: UserNamespace | undefined;
}

/** A seccomp or AppArmor choice. `ref` is an absolute file path (seccomp) or a loaded profile's name (AppArmor). */
export type SecurityProfile =
  | { readonly type: 'runtime-default' }
  | { readonly type: 'unconfined' }
  | { readonly type: 'localhost'; readonly ref: string };

/** The parts of an SELinux label; what is left out comes from the host's policy. */
export interface SelinuxOptions {
  readonly user?: string | undefined;
  readonly role?: string | undefined;
  readonly type?: string | undefined;
  readonly level?: string | undefined;
}

/** `merge` adds the groups that the image's /etc/group gives the user, `strict` takes only those of the request. */
export type SupplementalGroupsPolicy = 'merge' | 'strict';

/** A huge page limit; `pageSize` as the kernel's control files spell it (`2MB`, `1GB`). */
interface HugepageLimit {
  readonly pageSize: string;
  readonly limitBytes: number;
}

/** Limits of a container, or the sum over a pod. */
export interface LinuxResources {
  readonly cpuPeriodUs?: number | undefined;
  /** Microseconds per period; negative is no limit. */
  readonly cpuQuotaUs?: number | undefined;
  readonly cpuShares?: number | undefined;
  readonly cpusetCpus?: string | undefined;
  readonly cpusetMems?: string | undefined;
  /** Negative is no limit. */
  readonly memoryLimitBytes?: number | undefined;
  /** Memory and swap together; negative is no limit. */
  readonly memorySwapLimitBytes?: number | undefined;
  /** What is kept for it when memory is short. Plugins set it. */
  readonly memoryReservationBytes?: number | undefined;
  /** 0 to 100; cgroup v1 only. Plugins set it. */
  readonly memorySwappiness?: number | undefined;
  /** cgroup v1 only. Plugins set it. */
  readonly oomKillerDisabled?: boolean | undefined;
  readonly cpuRealtimePeriodUs?: number | undefined;
  /** Microseconds per realtime period; cgroup v1 only. Plugins set both. */
  readonly cpuRealtimeRuntimeUs?: number | undefined;
  /** Negative is no limit. Plugins set it. */
  readonly pidsLimit?: number | undefined;
  readonly oomScoreAdj?: number | undefined;
  readonly hugepageLimits: readonly HugepageLimit[];
  /** Files of cgroup v2 and what is written to them, such as `memory.high`. */
  readonly unified?: Readonly<Record<string, string>> | undefined;
}

/** What the pod's resolv.conf says. */
export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** One published port. `hostPort` left out: nothing is opened on the host. */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort?: number | undefined;
  readonly hostIp?: string | undefined;
}

/** What a pod is called by its owner; the four together are unique on a node. */
export interface PodMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

/** The security settings of the sandbox itself; its containers bring their own. */
export interface PodSecurity {
  readonly selinux?: SelinuxOptions | undefined;
  readonly runAsUser?: number | undefined;
  readonly runAsGroup?: number | undefined;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly number[];
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
  /** True when a privileged container may follow. */
  readonly privileged: boolean;
  /** Left out: unconfined. */
  readonly seccomp?: SecurityProfile | undefined;
  /** Left out: the runtime's default where AppArmor is on. */
  readonly apparmor?: SecurityProfile | undefined;
}

/** A pod sandbox as it was asked for. Labels and annotations are handed back unaltered. */
export interface PodConfig {
  readonly metadata: PodMetadata;
  /** Left out only when the pod uses the node's network. */
  readonly hostname?: string | undefined;
  /** Absolute; the log paths of containers are relative to it. */
  readonly logDirectory?: string | undefined;
  readonly dns?: DnsConfig | undefined;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** As the caller wrote it, in cgroupfs syntax or a slice name. */
  readonly cgroupParent?: string | undefined;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly namespaces: NamespaceOptions;
  readonly security: PodSecurity;
  readonly overhead?: LinuxResources | undefined;
  readonly resources?: LinuxResources | undefined;
}
