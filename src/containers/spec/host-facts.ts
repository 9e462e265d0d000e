/**
 * What the spec builder has to know about the node and the runtime. A value: made once by the composition root, handed to
 * the pure functions, and written by hand in tests.
 */

/** Processor architectures with a seccomp rule set, in the names that seccomp profiles use. */
export type SeccompArchitecture =
  | 'amd64'
  | '386'
  | 'arm64'
  | 'arm'
  | 'ppc64le'
  | 'riscv64'
  | 's390x'
  | 'loong64'
  | 'mips64'
  | 'mipsel64';

/** Facts of this node and of the runtime that will read the spec. */
export interface HostFacts {
  readonly hostname: string;
  /** The daemon's bounding set, `CAP_` names: nothing above it can be given to a container. */
  readonly capabilities: readonly string[];
  /** `v1` also for hybrid hosts, whose controllers are v1's. */
  readonly cgroupVersion: 'v1' | 'v2';
  /** False where the kernel does not account swap: a swap limit would be refused. */
  readonly swapAccounting: boolean;
  readonly seccomp: { readonly enabled: boolean; readonly architecture: SeccompArchitecture };
  readonly apparmorEnabled: boolean;
  readonly selinuxEnabled: boolean;
  /** The kernel can change the mounts below a mount with it: the engine makes these mounts, whatever the runtime knows. */
  readonly recursiveReadOnlyMounts: boolean;
  /** Sizes with a hugetlb control file, such as `2MB`; empty without the hugetlb controller. */
  readonly hugepageSizes: readonly string[];
  readonly kernel: { readonly major: number; readonly minor: number };
  /** What reads the spec: `crun`, `runc` or `other`. */
  readonly runtimeName: string;
  /** The lowest oom_score_adj that this daemon may give a process. */
  readonly minOomScoreAdj: number;
  /** The highest RLIMIT_NOFILE that this daemon may give a process. */
  readonly maxOpenFiles: number;
}
