/** What the kernel's facts mean for pods. Pure. */
import { findingsOf, type Finding, type Verdict } from './finding.ts';
import type { HostFacts } from './host-facts.ts';
import type { Availability } from './kernel-features.ts';
import { compareVersions } from './version.ts';

type KernelFacts = Pick<
  HostFacts,
  | 'release'
  | 'parts'
  | 'namespaces'
  | 'maxUserNamespaces'
  | 'seccompActions'
  | 'hasApparmor'
  | 'hasApparmorParser'
  | 'selinux'
  | 'lowerDirAppend'
  | 'hasPressure'
  | 'hasSwap'
>;

const finding = findingsOf('kernel');
const neededNamespaces = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts'];

export function judgeKernel(facts: KernelFacts): Finding[] {
  return [
    judgeRelease(facts.release),
    judgeOverlay(facts),
    judgeNamespaces(facts),
    judgeUserNamespaces(facts),
    judgeSeccomp(facts.seccompActions),
    judgeLabels(facts),
    facts.hasPressure
      ? finding('pressure', 'ok', 'pressure stall information (PSI) is on')
      : finding('pressure', 'note', 'no pressure stall information: boot with psi=1 to have it in stats'),
    facts.hasSwap
      ? finding('swap', 'note', 'swap is on: a kubelet refuses to start unless failSwapOn is false')
      : finding('swap', 'ok', 'no swap is on'),
  ];
}

/** When the calls came that the engine is built on, oldest first. */
const milestones: readonly { readonly since: string; readonly verdict: Verdict; readonly lacks: string }[] = [
  {
    since: '5.6',
    verdict: 'problem',
    lacks: 'pidfds and openat2, which the engine is built on: update the kernel, 6.1 or newer',
  },
  {
    since: '5.12',
    verdict: 'warning',
    lacks:
      'mount_setattr: recursive read-only mounts and user namespaces with mapped mounts are refused; update to 6.1 or newer',
  },
  {
    since: '6.8',
    verdict: 'ok',
    lacks: 'lowerdir+ of overlayfs: images of many layers are mounted by the older way, which works',
  },
];

function judgeRelease(release: string): Finding {
  const missed = milestones.find(({ since }) => compareVersions(release, since) < 0);
  if (missed === undefined)
    return finding('version', 'ok', `Linux ${release} has pidfd, openat2, mount_setattr and lowerdir+`);
  return finding('version', missed.verdict, `Linux ${release} lacks ${missed.lacks}`);
}

function judgeOverlay({ parts, lowerDirAppend }: KernelFacts): Finding {
  const there = judgePart('overlayfs', parts.overlay, {
    module: 'overlay',
    absent: {
      verdict: 'problem',
      text: 'the kernel has no overlayfs: images cannot be mounted, use another kernel',
    },
  });
  if (there.verdict !== 'ok' || lowerDirAppend === undefined) return { ...there, area: 'kernel' };
  const way = lowerDirAppend ? 'layers are added one by one (lowerdir+)' : 'layers are given in one page';
  return finding('overlayfs', 'ok', `there; ${way}`);
}

function judgeNamespaces({ namespaces }: KernelFacts): Finding {
  const missing = neededNamespaces.filter((name) => !namespaces.includes(name));
  if (missing.length === 0) return finding('namespaces', 'ok', `${neededNamespaces.join(', ')} are there`);
  return finding(
    'namespaces',
    'problem',
    `no ${missing.join(', ')} namespaces: pods cannot be kept apart, use another kernel`,
  );
}

function judgeUserNamespaces({ namespaces, maxUserNamespaces }: KernelFacts): Finding {
  if (!namespaces.includes('user'))
    return finding('user namespaces', 'note', 'the kernel has none: pods with hostUsers: false are refused');
  if (maxUserNamespaces === 0)
    return finding(
      'user namespaces',
      'note',
      'turned off: set user.max_user_namespaces above 0 for pods with hostUsers: false',
    );
  return finding('user namespaces', 'ok', 'can be made');
}

function judgeSeccomp(actions: readonly string[]): Finding {
  if (actions.length === 0)
    return finding(
      'seccomp',
      'warning',
      'the kernel cannot filter system calls: pods that ask for a seccomp profile, RuntimeDefault included, fail',
    );
  return finding('seccomp', 'ok', `system calls can be filtered (${actions.join(', ')})`);
}

function judgeLabels({ hasApparmor, hasApparmorParser, selinux }: KernelFacts): Finding {
  if (hasApparmor && !hasApparmorParser)
    return finding(
      'AppArmor',
      'warning',
      'it is on, but apparmor_parser is missing, so containers get no default profile: install the package apparmor',
    );
  if (hasApparmor) return finding('AppArmor', 'ok', 'on');
  if (selinux === 'enforcing') return finding('SELinux', 'ok', 'enforcing');
  if (selinux === 'permissive')
    return finding('SELinux', 'note', 'permissive: it reports and hinders nothing (setenforce 1)');
  return finding(
    'AppArmor',
    'note',
    'neither AppArmor nor SELinux is on: containers are confined by namespaces, capabilities and seccomp alone',
  );
}

interface PartWords {
  readonly module: string;
  readonly absent: { readonly verdict: Verdict; readonly text: string };
}

/** A part of the kernel that is there, can be loaded, is missing, or cannot be told. */
export function judgePart(
  subject: string,
  availability: Availability,
  words: PartWords,
): Omit<Finding, 'area'> {
  switch (availability) {
    case 'present':
      return { subject, verdict: 'ok', text: 'there' };
    case 'loadable':
      return {
        subject,
        verdict: 'note',
        text: `not loaded: run "modprobe ${words.module}", and put ${words.module} into /etc/modules-load.d/gantry.conf`,
      };
    case 'absent':
      return { subject, ...words.absent };
    case 'unknown':
      return {
        subject,
        verdict: 'note',
        text: `cannot tell whether the kernel has ${subject}: try "modprobe ${words.module}"`,
      };
  }
}
