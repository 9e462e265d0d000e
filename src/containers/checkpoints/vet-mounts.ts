/** The mounts in CRIU's images, held against those of the request: the same places, and nothing looser. */
import { closeSync, existsSync, openSync, readlinkSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { quote } from '../../lib/ids.ts';
import { openInRoot, pathDirectory } from '../../linux/at.ts';
import { O_PATH } from '../../linux/libc.ts';
import type { Mount, Spec } from '../../oci/spec-types.ts';
import { type Message, numberOf, readImage, textOf } from './criu-images.ts';
import { tooMuch } from './too-much.ts';

/** Field numbers of CRIU's images/mnt.proto. */
const field = {
  type: 1,
  flags: 5,
  mountpoint: 7,
  sharedId: 10,
  withPlugin: 12,
  external: 13,
  deleted: 16,
  superFlags: 17,
  externalKey: 18,
} as const;
/** Its enum of file systems. */
const types: Readonly<Record<string, readonly number[]>> = {
  proc: [1],
  sysfs: [2],
  tmpfs: [5],
  devpts: [6],
  mqueue: [14],
  cgroup: [5, 12, 23],
  cgroup2: [23],
};
/** Option of a mount -> its flag (mount(2)). */
const flags = { ro: 1, nosuid: 2, nodev: 4, noexec: 8 } as const;
const devNull = '/dev/null';

/** @throws EngineError permission-denied naming the mount, data-loss */
export function vetMounts(spec: Spec, directory: string, files: readonly string[]): void {
  const images = files.filter((name) => /^mountpoints-\d+\.img$/.test(name));
  if (images.length !== 1) throw tooMuch(`it has ${images.length} mount namespaces instead of one`);
  const wanted = new Map(spec.mounts.map((mount) => [placeIn(spec.root.path, mount.destination), mount]));
  const guarded = new Set([...(spec.linux.maskedPaths ?? []), ...(spec.linux.readonlyPaths ?? [])]);
  const seen = new Set<string>();
  for (const entry of readImage(directory, images[0] ?? '')) {
    const place = posix.normalize(textOf(entry, field.mountpoint)).replace(/(?<=.)\/$/, '');
    if (seen.has(place)) throw tooMuch(`it has two mounts at ${quote(place)}`);
    seen.add(place);
    vetMount(spec, { entry, place, wanted, guarded });
  }
  const missing = ['/', ...wanted.keys()].find((place) => !seen.has(place));
  if (missing !== undefined) throw tooMuch(`it has no mount at ${quote(missing)}, the request has one`);
  // Which of them there are depends on the kernel.
  const open = [...guarded].find((path) => existsSync(path) && !seen.has(path));
  if (open !== undefined) throw tooMuch(`${quote(open)} is not protected in it`);
}

/**
 * The hierarchies of cgroup v1 that a vetted checkpoint shows one by one below a mount of the request, such as `memory`. Empty with
 * cgroup v2, or where the container has a cgroup namespace of its own.
 */
export function legacyHierarchies(directory: string, files: readonly string[], place: string): string[] {
  const image = files.find((name) => name.startsWith('mountpoints-')) ?? '';
  return readImage(directory, image)
    .filter((entry) => isExternal(entry))
    .map((entry) => posix.normalize(textOf(entry, field.mountpoint)))
    .filter((mountpoint) => dirname(mountpoint) === place)
    .map((mountpoint) => basename(mountpoint));
}

interface Vetted {
  readonly entry: Message;
  readonly place: string;
  readonly wanted: ReadonlyMap<string, Mount>;
  readonly guarded: ReadonlySet<string>;
}

function vetMount(spec: Spec, { entry, place, wanted, guarded }: Vetted): void {
  if (numberOf(entry, field.withPlugin) !== 0 || numberOf(entry, field.deleted) !== 0)
    throw tooMuch(`its mount at ${quote(place)} is of a kind that is not restored`);
  if (place === '/') return vetFlags(entry, place, spec.root.readonly === true ? ['ro'] : []);
  const mount = wanted.get(place);
  if (mount !== undefined) return vetWanted(entry, place, mount);
  if (guarded.has(place)) return vetGuarded(entry, place);
  const parent = wanted.get(dirname(place));
  // With cgroup v1 one mount of the request is a directory with one mount for each controller.
  if (parent?.type === 'cgroup') return vetWanted(entry, place, parent);
  if (place === '/dev/console' && spec.process.terminal === true) return;
  throw tooMuch(`it has a mount at ${quote(place)}, the request has none`);
}

function vetWanted(entry: Message, place: string, mount: Mount): void {
  const options = mount.options ?? [];
  const isDirectory = mount.type === 'cgroup' && numberOf(entry, field.type) === 5;
  vetFlags(entry, place, isDirectory ? options.filter((option) => option !== 'ro') : options);
  if (numberOf(entry, field.sharedId) !== 0 && !options.includes('rshared'))
    throw tooMuch(`its mount at ${quote(place)} is shared with others`);
  if (isExternal(entry)) {
    // The runtime puts there what the request says, by this key.
    if (textOf(entry, field.externalKey) !== place)
      throw tooMuch(`its mount at ${quote(place)} is another one`);
    return;
  }
  if (types[mount.type ?? '']?.includes(numberOf(entry, field.type)) !== true)
    throw tooMuch(`its mount at ${quote(place)} is not the ${mount.type} of the request`);
}

/** Masked paths are /dev/null or an empty tmpfs, protected ones their own directory once more, read-only. */
function vetGuarded(entry: Message, place: string): void {
  if (isExternal(entry)) {
    // runc's key for what it masks, and crun's.
    if (![devNull, place].includes(textOf(entry, field.externalKey)))
      throw tooMuch(`${quote(place)} shows something else in it`);
    return;
  }
  vetFlags(entry, place, ['ro']);
  const known = [...(types['proc'] ?? []), ...(types['sysfs'] ?? []), ...(types['tmpfs'] ?? [])];
  if (!known.includes(numberOf(entry, field.type)))
    throw tooMuch(`${quote(place)} shows something else in it`);
}

function vetFlags(entry: Message, place: string, options: readonly string[]): void {
  const actual = numberOf(entry, field.flags) | (numberOf(entry, field.superFlags) & flags.ro);
  for (const [option, flag] of Object.entries(flags))
    if (options.includes(option) && (actual & flag) === 0)
      throw tooMuch(`its mount at ${quote(place)} is not ${option}, as the request has it`);
}

function isExternal(entry: Message): boolean {
  return numberOf(entry, field.external) !== 0 || textOf(entry, field.externalKey) !== '';
}

/** Where a mount lands: runtimes follow the symlinks of the image, inside its root. */
function placeIn(rootfs: string, destination: string): string {
  const place = posix.normalize(destination);
  const root = openSync(rootfs, pathDirectory);
  try {
    const fd = openInRoot(root, place, O_PATH);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).slice(readlinkSync(`/proc/self/fd/${root}`).length);
    } finally {
      closeSync(fd);
    }
  } catch {
    return dirname(place) === '/' ? place : join(placeIn(rootfs, dirname(place)), basename(place));
  } finally {
    closeSync(root);
  }
}
