/** Specs that fail on some hosts whatever the engine does, each with what the host lacks and how that is seen. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { SpecResult } from '../ginkgo/report.ts';

interface HostLack {
  /** Of the spec's whole name. */
  readonly spec: RegExp;
  /** Of what the failing spec says; what fails otherwise fails by itself. */
  readonly message: RegExp;
  readonly reason: string;
  /** Whether this host lacks it. */
  readonly holds: () => boolean;
}

function cannotAddLink(kind: string): boolean {
  const { status } = spawnSync('ip', ['link', 'add', 'probe0', 'type', kind]);
  if (status === 0) spawnSync('ip', ['link', 'delete', 'probe0']);
  return status !== 0;
}

/** CAP_SYS_RESOURCE. */
const sysResource = 1n << 24n;

/** Whether this node cannot make any `oom_score_adj` lower than it is. */
export function cannotRaiseLimits(): boolean {
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${bounding}`) & sysResource) === 0n;
}

const hostLacks: readonly HostLack[] = [
  {
    spec: /PrivilegedPod .*should enable privileged commands/,
    message: /type dummy.*Operation not supported/,
    reason: 'the spec adds a dummy link, and the kernel has no such kind',
    holds: () => cannotAddLink('dummy'),
  },
  {
    spec: /Pod InPlace Resize .*guaranteed .*restart/,
    message: /oom_score_adj value \d+ not equal to expected -/,
    reason: 'the spec wants an oom_score_adj of -997, and CAP_SYS_RESOURCE is missing here',
    holds: cannotRaiseLimits,
  },
  {
    spec: /\[Feature:SCTPConnectivity\]/,
    message: /--sctp-port=\d+$[\s\S]*^ +exitCode: 1$/m,
    reason: 'the spec speaks SCTP, which the kernel does not know',
    holds: () => !readFileSync('/proc/net/protocols', 'utf8').includes('SCTP'),
  },
  {
    spec: /ImageID .*should be set to the manifest digest/,
    message: /busybox@sha256:[0-9a-f]{64}:?\s+not found/,
    reason: 'the spec pulls an upstream image by its digest, and there is no way out',
    holds: () => true,
  },
  {
    spec: /ImageGarbageCollect|ImageGC/,
    message: /(gcr|k8s)\.io\/.*not found/,
    reason: 'the spec pulls all upstream images of the suite, one by its digest, and there is no way out',
    holds: () => true,
  },
  {
    spec: /Validate OOM score adjustments/,
    message: /-99[89]/,
    reason: 'the spec wants an oom_score_adj of -998 or less, and CAP_SYS_RESOURCE is missing here',
    holds: cannotRaiseLimits,
  },
  {
    spec: /ensure summary API properly reports swap/,
    message: /to match fields: \{\s+\.Pods\[[^\]]*\]\.Swap:\s+Expected\s+<\*v1alpha1\.SwapStats \| 0x0>: nil/,
    reason:
      'CRI has no swap of pods, and with PodAndContainerStatsFromCRI this kubelet does not add up that of containers',
    holds: () => true,
  },
  {
    spec: /ImageCredentialProvider .*credentials fetched from external credential provider/,
    message: /k8s-authenticated-test\/[\w.:-]+\s+not found/,
    reason: "the spec wants a cloud's credential provider and its registry",
    holds: () => true,
  },
];

/** Why a spec that failed cannot pass here, or undefined. */
export function hostLackOf({ name, message }: SpecResult): string | undefined {
  return hostLacks.find((lack) => lack.spec.test(name) && lack.message.test(message) && lack.holds())?.reason;
}
