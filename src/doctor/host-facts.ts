/** What the doctor looks at on this host. Only facts: what they mean is judged elsewhere. */
import { existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { detectHostCgroups, type HostCgroups } from '../cgroups/host.ts';
import { hasLowerDirAppend } from '../linux/overlay.ts';
import { hasEntryTypes } from './entry-types.ts';
import { readAvailability, type Availability, type KernelPart } from './kernel-features.ts';

export interface HostFacts {
  readonly release: string;
  readonly isRoot: boolean;
  readonly parts: Readonly<Record<KernelPart, Availability>>;
  /** Kinds of namespaces, as in /proc/self/ns. */
  readonly namespaces: readonly string[];
  readonly maxUserNamespaces: number | undefined;
  readonly seccompActions: readonly string[];
  readonly hasApparmor: boolean;
  readonly hasApparmorParser: boolean;
  readonly selinux: 'enforcing' | 'permissive' | undefined;
  /** undefined when it takes root to find out. */
  readonly lowerDirAppend: boolean | undefined;
  readonly hasPressure: boolean;
  readonly hasSwap: boolean;
  readonly cgroups: HostCgroups;
  readonly systemdRuns: boolean;
  readonly ipForward: boolean;
  readonly bridgeNfCallIptables: boolean | undefined;
  readonly inotifyInstances: number | undefined;
  readonly inotifyWatches: number | undefined;
  readonly openFilesHard: number | undefined;
  /** Capabilities that a process of this host can have at all. */
  readonly boundingSet: bigint;
  readonly storage: StorageFacts;
}

export interface StorageFacts {
  /** The directory that was looked at: the data directory, or the nearest one above it. */
  readonly path: string;
  readonly type: string;
  readonly freeBytes: number;
  readonly freeInodes: number;
  /** Whether the file system says in its directories what each entry is. */
  readonly hasEntryTypes: boolean | undefined;
}

export function readHostFacts(dataDirectory: string): HostFacts {
  const isRoot = process.getuid?.() === 0;
  return {
    release: release(),
    isRoot,
    parts: readAvailability(release()),
    namespaces: names('/proc/self/ns'),
    maxUserNamespaces: number('/proc/sys/user/max_user_namespaces'),
    seccompActions: words('/proc/sys/kernel/seccomp/actions_avail'),
    hasApparmor: text('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y',
    hasApparmorParser: ['/sbin', '/usr/sbin'].some((path) => existsSync(`${path}/apparmor_parser`)),
    selinux: selinuxMode(),
    lowerDirAppend: isRoot ? attempt(hasLowerDirAppend) : undefined,
    hasPressure: (text('/proc/pressure/memory') ?? '') !== '',
    hasSwap: (text('/proc/swaps') ?? '').trim().split('\n').length > 1,
    cgroups: detectHostCgroups(),
    systemdRuns: existsSync('/run/systemd/system'),
    ipForward: number('/proc/sys/net/ipv4/ip_forward') === 1,
    bridgeNfCallIptables: flag('/proc/sys/net/bridge/bridge-nf-call-iptables'),
    inotifyInstances: number('/proc/sys/fs/inotify/max_user_instances'),
    inotifyWatches: number('/proc/sys/fs/inotify/max_user_watches'),
    openFilesHard: hardOpenFiles(),
    boundingSet: BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(text('/proc/self/status') ?? '')?.[1] ?? '0'}`),
    storage: readStorage(dataDirectory),
  };
}

function selinuxMode(): HostFacts['selinux'] {
  const enforce = text('/sys/fs/selinux/enforce')?.trim();
  if (enforce === undefined) return undefined;
  return enforce === '1' ? 'enforcing' : 'permissive';
}

function hardOpenFiles(): number | undefined {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(text('/proc/self/limits') ?? '')?.[1];
  return hard === 'unlimited' ? Infinity : hard === undefined ? undefined : Number(hard);
}

function readStorage(wanted: string): StorageFacts {
  let path = wanted;
  while (!existsSync(path)) path = dirname(path);
  const { bavail, bsize, ffree } = statfsSync(path);
  return {
    path,
    type: fileSystemType(path),
    freeBytes: bavail * bsize,
    freeInodes: ffree,
    hasEntryTypes: attempt(() => hasEntryTypes(path)),
  };
}

/** The mount with the longest path that `path` is below; the last one mounted there is the one seen. */
function fileSystemType(path: string): string {
  let best = { target: '', type: 'unknown' };
  for (const line of (text('/proc/self/mountinfo') ?? '').split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const target = left.split(' ')[4] ?? '';
    const isAbove = target !== '' && (target === '/' || path === target || path.startsWith(`${target}/`));
    if (isAbove && target.length >= best.target.length)
      best = { target, type: right.split(' ')[0] ?? 'unknown' };
  }
  return best.type;
}

function text(path: string): string | undefined {
  return attempt(() => readFileSync(path, 'utf8'));
}

function words(path: string): string[] {
  return (text(path) ?? '').split(/\s+/).filter((word) => word !== '');
}

function number(path: string): number | undefined {
  const value = text(path);
  return value === undefined ? undefined : Number(value);
}

function flag(path: string): boolean | undefined {
  const value = number(path);
  return value === undefined ? undefined : value === 1;
}

function names(directory: string): string[] {
  return attempt(() => readdirSync(directory)) ?? [];
}

/** What cannot be read is not known: no reason to examine nothing else. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
