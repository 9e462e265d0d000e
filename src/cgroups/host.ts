/**
 * Control groups: the layout of this host, and where a cgroup's directories are. cgroup v2 is the design; on v1 and hybrid
 * hosts limits go through the OCI runtime and usage is read from the v1 files.
 */
import { readFileSync } from 'node:fs';

/** Who makes cgroups: we and the runtime by mkdir, or systemd. */
export type CgroupDriver = 'cgroupfs' | 'systemd';

/** Facts about the cgroup file systems of this host. */
export type HostCgroups =
  | {
      /** cgroup2 alone. */
      readonly layout: 'unified';
      readonly root: string;
      readonly controllers: readonly string[];
    }
  | {
      /** v1 controllers; in a hybrid there is a cgroup2 hierarchy besides, which limits nothing. */
      readonly layout: 'legacy' | 'hybrid';
      /** Where each v1 controller is mounted; `name=systemd` is the entry `systemd`. */
      readonly mounts: ReadonlyMap<string, string>;
      readonly unifiedRoot: string | undefined;
    };

/** Reads the layout that this process sees. `mountinfo` is a file in the form of /proc/self/mountinfo. */
export function detectHostCgroups(mountinfo = '/proc/self/mountinfo'): HostCgroups {
  const found = parseMounts(readFileSync(mountinfo, 'utf8'));
  if (found.legacy.size > 0) {
    const layout = found.unified === undefined ? 'legacy' : 'hybrid';
    return { layout, mounts: found.legacy, unifiedRoot: found.unified };
  }
  const root = found.unified ?? '/sys/fs/cgroup';
  return { layout: 'unified', root, controllers: readWords(`${root}/cgroup.controllers`) };
}

/** What the configuration means by `auto`: systemd where it runs the machine. */
export function defaultDriver(host: HostCgroups, systemdRuns: boolean): CgroupDriver {
  // On v1 and hybrid hosts systemd is often only half in charge of the controllers: mkdir always works.
  return systemdRuns && host.layout === 'unified' ? 'systemd' : 'cgroupfs';
}

/** The directory of a cgroup, for a controller's files. `path` is absolute within the hierarchy; undefined when the host lacks the controller. */
export function controllerDirectory(host: HostCgroups, controller: string, path: string): string | undefined {
  if (host.layout === 'unified') return join(host.root, path);
  const mount = host.mounts.get(controller);
  return mount === undefined ? undefined : join(mount, path);
}

/** All directories of a cgroup: one on cgroup2 hosts, one for each hierarchy otherwise. */
export function cgroupDirectories(host: HostCgroups, path: string): string[] {
  if (host.layout === 'unified') return [join(host.root, path)];
  const mounts = new Set(host.mounts.values());
  if (host.unifiedRoot !== undefined) mounts.add(host.unifiedRoot);
  return [...mounts].map((mount) => join(mount, path));
}

/** The cgroup of a process, as a path in the hierarchy that limits memory; undefined when the process is gone. */
export function cgroupOfProcess(host: HostCgroups, pid: number | 'self'): string | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return undefined;
  }
  for (const line of text.split('\n')) {
    const [id, controllers = '', ...path] = line.split(':');
    const isWanted = host.layout === 'unified' ? id === '0' : controllers.split(',').includes('memory');
    if (isWanted) return path.join(':');
  }
  return undefined;
}

interface CgroupMounts {
  readonly legacy: Map<string, string>;
  unified: string | undefined;
}

// Options of a v1 mount that are not controllers.
const legacyOptions = new Set([
  'rw',
  'ro',
  'xattr',
  'clone_children',
  'cpuset_v2_mode',
  'favordynmods',
  'noprefix',
]);

function parseMounts(mountinfo: string): CgroupMounts {
  const found: CgroupMounts = { legacy: new Map(), unified: undefined };
  for (const line of mountinfo.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const target = unescape(left.split(' ')[4] ?? '');
    const [type, , options = ''] = right.split(' ');
    if (type === 'cgroup2') found.unified ??= target;
    if (type === 'cgroup') addLegacy(found.legacy, target, options);
  }
  return found;
}

function addLegacy(legacy: Map<string, string>, target: string, options: string): void {
  for (const option of options.split(',')) {
    const name = option.startsWith('name=') ? option.slice('name='.length) : option;
    if (legacyOptions.has(name) || name.includes('=') || legacy.has(name)) continue;
    legacy.set(name, target);
  }
}

/** mountinfo writes blanks and backslashes in octal. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function readWords(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').trim().split(/\s+/).filter(Boolean);
  } catch {
    return [];
  }
}

function join(root: string, path: string): string {
  return path === '/' ? root : `${root}${path}`;
}
