import { readFileSync } from 'node:fs';

/** One mount as the kernel lists it (proc(5), /proc/pid/mountinfo). */
export interface MountInfo {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor` of the file system. */
  readonly device: string;
  /** Which directory of the file system is mounted. */
  readonly root: string;
  readonly target: string;
  /** Options of this mount: `rw`, `nosuid`, ... */
  readonly options: readonly string[];
  /** `shared:N`, `master:N`, ...: none for a private mount. */
  readonly propagation: readonly string[];
  readonly fstype: string;
  readonly source: string;
  /** Options of the file system. */
  readonly superOptions: readonly string[];
}

/**
 * The mounts of this thread's mount namespace, in the kernel's order: what is mounted over another comes later.
 * Lines that do not parse are left out.
 */
export function readMounts(): MountInfo[] {
  return parseMountInfo(readFileSync('/proc/thread-self/mountinfo', 'utf8'));
}

/** The text of a mountinfo file. */
export function parseMountInfo(text: string): MountInfo[] {
  const mounts: MountInfo[] = [];
  for (const line of text.split('\n')) {
    const mount = parseLine(line);
    if (mount !== undefined) mounts.push(mount);
  }
  return mounts;
}

function parseLine(line: string): MountInfo | undefined {
  const separator = line.indexOf(' - ');
  if (separator === -1) return undefined;
  const [id, parentId, device, root, target, options, ...propagation] = line.slice(0, separator).split(' ');
  const [fstype, source, superOptions] = line.slice(separator + 3).split(' ');
  if (options === undefined || source === undefined) return undefined;
  return {
    id: Number(id),
    parentId: Number(parentId),
    device: device ?? '',
    root: unescape(root ?? ''),
    target: unescape(target ?? ''),
    options: options.split(','),
    propagation,
    fstype: unescape(fstype ?? ''),
    source: unescape(source),
    superOptions: (superOptions ?? '').split(','),
  };
}

/** The kernel writes space, tab, newline, backslash and # as three octal digits. */
function unescape(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
