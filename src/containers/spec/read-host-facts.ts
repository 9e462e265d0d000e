import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { join } from 'node:path';
import { controllerDirectory, type HostCgroups } from '../../cgroups/host.ts';
import { EngineError } from '../../lib/errors.ts';
import { canChangeMountTrees } from '../../linux/mount.ts';
import { knownCapabilities } from './capabilities.ts';
import type { HostFacts, SeccompArchitecture } from './host-facts.ts';

/** What the host does not tell. */
type RuntimeFacts = Pick<HostFacts, 'runtimeName'>;

/** Reads the facts of this node once. What they say can only change with a reboot, or with the daemon's own rights. */
export function readHostFacts(runtime: RuntimeFacts, cgroups: HostCgroups): HostFacts {
  const status = readFileSync('/proc/self/status', 'utf8');
  const mayRaise = capabilitySet(status, 'CapEff').includes('CAP_SYS_RESOURCE');
  return {
    ...runtime,
    hostname: hostname(),
    recursiveReadOnlyMounts: canChangeMountTrees(),
    capabilities: capabilitySet(status, 'CapBnd'),
    cgroupVersion: cgroups.layout === 'unified' ? 'v2' : 'v1',
    swapAccounting: hasSwapAccounting(cgroups),
    seccomp: {
      enabled: existsSync('/proc/sys/kernel/seccomp/actions_avail'),
      architecture: seccompArchitecture(process.arch),
    },
    apparmorEnabled: hasApparmor(),
    selinuxEnabled: existsSync('/sys/fs/selinux/enforce'),
    hugepageSizes: hasHugetlb(cgroups) ? readHugepageSizes() : [],
    kernel: parseKernelVersion(release()),
    minOomScoreAdj: mayRaise ? -1000 : Number(readText('/proc/self/oom_score_adj') ?? 0),
    maxOpenFiles: mayRaise ? Number(readText('/proc/sys/fs/nr_open') ?? defaultNrOpen) : hardOpenFiles(),
  };
}

const defaultNrOpen = 1_048_576;

/** The list of loaded profiles is in securityfs: without it no profile can be checked. */
function hasApparmor(): boolean {
  const isOn = readText('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y';
  return isOn && existsSync('/sys/kernel/security/apparmor/profiles');
}

function capabilitySet(status: string, set: 'CapBnd' | 'CapEff'): string[] {
  return parseCapabilityMask(new RegExp(`^${set}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0');
}

/** The names of the capabilities in a mask of /proc/PID/status. */
export function parseCapabilityMask(hex: string): string[] {
  const mask = BigInt(`0x${hex}`);
  return knownCapabilities.filter((_, bit) => ((mask >> BigInt(bit)) & 1n) === 1n);
}

/** `hugepages-2048kB` of sysfs as the cgroup files spell it: `2MB`. */
export function hugepageSizeName(directory: string): string | undefined {
  const kibibytes = Number(/^hugepages-(\d+)kB$/.exec(directory)?.[1]);
  if (!Number.isInteger(kibibytes) || kibibytes === 0) return undefined;
  if (kibibytes % 1_048_576 === 0) return `${kibibytes / 1_048_576}GB`;
  return kibibytes % 1024 === 0 ? `${kibibytes / 1024}MB` : `${kibibytes}KB`;
}

function readHugepageSizes(): string[] {
  const directory = '/sys/kernel/mm/hugepages';
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .map((name) => hugepageSizeName(name))
    .filter((name) => name !== undefined);
}

function hasHugetlb(cgroups: HostCgroups): boolean {
  if (cgroups.layout === 'unified') return cgroups.controllers.includes('hugetlb');
  return controllerDirectory(cgroups, 'hugetlb', '/') !== undefined;
}

/** The root cgroup of v2 has no limits: any child of it shows whether the kernel has the file. */
function hasSwapAccounting(cgroups: HostCgroups): boolean {
  if (cgroups.layout !== 'unified') {
    const directory = controllerDirectory(cgroups, 'memory', '/');
    return directory !== undefined && existsSync(join(directory, 'memory.memsw.limit_in_bytes'));
  }
  const children = readdirSync(cgroups.root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(cgroups.root, name))
    .filter((child) => existsSync(join(child, 'memory.max')));
  if (children.length === 0) return existsSync('/proc/swaps');
  return children.some((child) => existsSync(join(child, 'memory.swap.max')));
}

function hardOpenFiles(): number {
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return hard === undefined ? defaultNrOpen : Number(hard);
}

function parseKernelVersion(text: string): HostFacts['kernel'] {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  return { major: Number(major), minor: Number(minor) };
}

/** @throws EngineError unimplemented for an architecture that the default profile does not know */
function seccompArchitecture(arch: string): SeccompArchitecture {
  const names: Readonly<Record<string, SeccompArchitecture>> = {
    x64: 'amd64',
    ia32: '386',
    arm64: 'arm64',
    arm: 'arm',
    ppc64: 'ppc64le',
    riscv64: 'riscv64',
    s390x: 's390x',
    loong64: 'loong64',
  };
  const name = names[arch];
  if (name === undefined)
    throw new EngineError('unimplemented', `processor architecture ${arch} is not supported`);
  return name;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
