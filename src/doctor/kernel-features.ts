/** What this kernel was built with, whether it is loaded yet or not. */
import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** How a part of the kernel is there; `unknown` when nothing tells. */
export type Availability = 'present' | 'loadable' | 'absent' | 'unknown';

interface Part {
  /** The module's name, with underscores. */
  readonly module: string;
  /** The option of the kernel's build, without `CONFIG_`. */
  readonly option: string;
}

/** What `readAvailability` is asked about. */
const kernelParts = {
  overlay: { module: 'overlay', option: 'OVERLAY_FS' },
  nf_tables: { module: 'nf_tables', option: 'NF_TABLES' },
  bridge: { module: 'bridge', option: 'BRIDGE' },
  veth: { module: 'veth', option: 'VETH' },
  br_netfilter: { module: 'br_netfilter', option: 'BRIDGE_NETFILTER' },
  vxlan: { module: 'vxlan', option: 'VXLAN' },
} as const satisfies Readonly<Record<string, Part>>;

export type KernelPart = keyof typeof kernelParts;

/** Where the facts are; another root for tests. */
export function readAvailability(release: string, root = ''): Record<KernelPart, Availability> {
  const config = readConfig(release, root);
  const modules = ['modules.dep', 'modules.builtin'].map((file) =>
    read(`${root}/lib/modules/${release}/${file}`),
  );
  const one = ({ module, option }: Part): Availability => {
    if (existsSync(`${root}/sys/module/${module}`)) return 'present';
    const set =
      config === undefined ? undefined : new RegExp(`^CONFIG_${option}=([ym])$`, 'm').exec(config)?.[1];
    if (set === 'y') return 'present';
    const [loadable, builtIn] = modules.map((text) => text?.includes(`/${module}.ko`));
    if (builtIn === true) return 'present';
    if (loadable === true) return 'loadable';
    // Built as a module, but its file is not on this machine (or no list says whether it is).
    if (set === 'm') return loadable === undefined ? 'unknown' : 'absent';
    return config === undefined && loadable === undefined ? 'unknown' : 'absent';
  };
  const entries = Object.entries(kernelParts).map(([name, part]) => [name, one(part)] as const);
  return Object.fromEntries(entries) as Record<KernelPart, Availability>;
}

function readConfig(release: string, root: string): string | undefined {
  try {
    return gunzipSync(readFileSync(`${root}/proc/config.gz`)).toString('utf8');
  } catch {
    return read(`${root}/boot/config-${release}`);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
