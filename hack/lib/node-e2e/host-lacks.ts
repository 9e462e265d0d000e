/** Specs that fail on some hosts whatever the engine does, each with what the host lacks and how that is seen. */
import { spawnSync } from 'node:child_process';

interface HostLack {
  /** Of the spec's whole name. */
  readonly spec: RegExp;
  readonly reason: string;
  /** Whether this host lacks it. */
  readonly holds: () => boolean;
}

function cannotAddLink(kind: string): boolean {
  const { status } = spawnSync('ip', ['link', 'add', 'probe0', 'type', kind]);
  if (status === 0) spawnSync('ip', ['link', 'delete', 'probe0']);
  return status !== 0;
}

const hostLacks: readonly HostLack[] = [
  {
    spec: /PrivilegedPod .*should enable privileged commands/,
    reason: 'the spec adds a dummy link, and the kernel has no such kind',
    holds: () => cannotAddLink('dummy'),
  },
];

/** Why a spec cannot pass here, or undefined. */
export function hostLackOf(name: string): string | undefined {
  return hostLacks.find((lack) => lack.spec.test(name) && lack.holds())?.reason;
}
