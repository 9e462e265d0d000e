/**
 * Bind mounts that the engine makes before the runtime does. Three things a runtime cannot do in the user namespace of a pod, or
 * not every one can: reach a path below directories that only the node's root may enter, show the ids of files as the
 * request maps them, and make the mounts below a mount read-only too. So the engine binds what is meant to a place of its
 * own, as it is meant, and the runtime binds that.
 */
import {
  chmodSync,
  chownSync,
  type Dirent,
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { type BindOptions, setPropagation, unmount } from '../linux/mount.ts';
import { readMounts } from '../linux/mountinfo.ts';
import type { PathWorkers } from '../linux/path-worker.ts';
import type { Poller } from '../linux/poll.ts';
import { startInUserNamespace } from '../linux/user-namespace.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';
import { losesMountsBelow } from '../oci/runtime-version.ts';
import type { IdMapping, Mount, Spec } from '../oci/spec-types.ts';
import { isAtOrBelow } from './spec/clean-path.ts';

interface BoundMountsDeps {
  /** Sources may lie on file systems that never answer. */
  readonly paths: Pick<PathWorkers, 'call'>;
  readonly poller: Poller;
}

/** A container's spec, and the directory in which its mounts are made; it must not exist or be empty. */
interface BoundMountsRequest {
  readonly spec: Spec;
  readonly directory: string;
  readonly runtime: Pick<OciRuntime, 'kind' | 'version'>;
}

const timeoutMs = 10_000;
/** The name of the place where the root file system is bound. */
const rootPlace = 'rootfs';
/** Everybody may enter these, and what is mounted below them is the node's own affair. */
const openTrees = ['/sys', '/proc', '/dev'];

/**
 * Binds what a runtime in the pod's user namespace could not reach, and all that is to be mapped or read-only with what is
 * below it, and gives the spec that binds from there. Where there is nothing of that it is the same spec, and nothing is made.
 *
 * @throws EngineError failed-precondition naming a mount whose file system cannot map ids
 */
export async function makeBoundMounts(
  deps: BoundMountsDeps,
  { spec, directory, runtime }: BoundMountsRequest,
): Promise<Spec> {
  const isInside = spec.linux.namespaces.some(({ type }) => type === 'user') ?? false;
  if (!isInside && !spec.mounts.some(isSpecial)) return spec;
  makeDirectory(directory, spec);
  const mounts: Mount[] = [];
  for (const [index, mount] of spec.mounts.entries()) {
    if (!isSpecial(mount) && !(isInside && isHidden(mount))) {
      mounts.push(mount);
      continue;
    }
    const bound = await bindOne(deps, { spec, mount, directory, name: String(index) });
    mounts.push(bound, ...(isInside && losesMountsBelow(runtime) ? mountsBelow(bound, mount) : []));
  }
  if (!isInside) return { ...spec, mounts };
  const root = { source: spec.root.path, destination: '/', options: ['bind', 'rprivate'] };
  const { source: path = '' } = await bindOne(deps, { spec, mount: root, directory, name: rootPlace });
  return { ...spec, mounts, root: { ...spec.root, path } };
}

/**
 * Takes away what a container that has been created needs no more: it has mounts of its own, and on the node no directory is
 * to be kept busy by what is mounted below it here. Its root file system stays where it is: runc goes there for each exec.
 * Idempotent.
 */
export function removeBoundVolumes(directory: string): void {
  if (existsSync(directory)) removePlaces(directory, ({ name }) => name !== rootPlace);
}

/** Undoes makeBoundMounts, whatever of it was done. Idempotent. */
export function removeBoundMounts(directory: string): void {
  if (!existsSync(directory)) return;
  removePlaces(directory, () => true);
  rmdirSync(directory);
}

/** Never removes anything but the empty places that were mounted upon: what is mounted there is the user's. */
function removePlaces(directory: string, isWanted: (entry: Dirent) => boolean): void {
  const table = readMounts();
  for (const entry of readdirSync(directory, { withFileTypes: true }).filter(isWanted)) {
    const place = `${directory}/${entry.name}`;
    const targets = table.flatMap(({ target }) => (isAtOrBelow(target, place) ? [target] : []));
    // The container's mounts may follow these, which would take what is mounted below them away from the container.
    for (const target of targets) setPropagation(target, 'private');
    for (const target of targets.toReversed()) unmount(target, { lazy: true });
    if (entry.isDirectory()) rmdirSync(place);
    else unlinkSync(place);
  }
}

/** Only the root of the pod may enter it beside the node's: setuid files of the image lie there (CVE-2021-41103). */
function makeDirectory(directory: string, { linux }: Spec): void {
  mkdirSync(directory, { mode: 0o700 });
  const rootGid = linux.gidMappings?.find(({ containerID }) => containerID === 0)?.hostID;
  if (rootGid === undefined) return;
  chownSync(directory, 0, rootGid);
  chmodSync(directory, 0o710);
}

function isSpecial(mount: Mount): boolean {
  return isMapped(mount) || isRecursiveReadOnly(mount);
}

function isRecursiveReadOnly({ options = [] }: Mount): boolean {
  return options.includes('rro');
}

function isMapped({ uidMappings = [], gidMappings = [] }: Mount): boolean {
  return uidMappings.length > 0 || gidMappings.length > 0;
}

function isHidden({ type, source = '', options = [] }: Mount): boolean {
  const isBind = type === 'bind' || options.includes('bind') || options.includes('rbind');
  return isBind && !openTrees.some((tree) => isAtOrBelow(source, tree));
}

interface OneMount extends Omit<BoundMountsRequest, 'runtime'> {
  readonly mount: Mount;
  /** Of the place in the directory. */
  readonly name: string;
}

async function bindOne(deps: BoundMountsDeps, one: OneMount): Promise<Mount> {
  const { mount, directory, name } = one;
  const { destination, type = 'bind', options = [] } = mount;
  const place = `${directory}/${name}`;
  const path = mount.source ?? '';
  const status = await deps.paths.call('stat', { path }, timeoutMs);
  if (status?.kind === 'directory') mkdirSync(place, { mode: 0o755 });
  else writeFileSync(place, '', { mode: 0o644, flag: 'wx' });
  await using namespace = await namespaceOf(deps, one);
  const bindOptions: BindOptions = {
    recursive: options.includes('rbind'),
    readOnly: isRecursiveReadOnly(mount),
    // Never shared with the source: unmounting here would unmount below it there.
    propagation: options.includes('rslave') ? 'rslave' : 'rprivate',
    ...(namespace === undefined ? {} : { idsOf: namespace.path }),
  };
  try {
    await deps.paths.call(
      'bind-mount',
      { path, targetRoot: directory, target: name, options: bindOptions },
      timeoutMs,
    );
  } catch (error) {
    if (namespace === undefined || errnoOf(error) !== 'EINVAL') throw error;
    const where = `mount of ${quote(destination)}: the file system of ${quote(path)}`;
    throw new EngineError('failed-precondition', `${where} cannot map the ids of files`, { cause: error });
  }
  const plain = options.map((option) => (option === 'rro' ? 'ro' : option));
  return { destination, type, source: place, options: plain };
}

/** One by one, what a recursive bind of the place would bind. They are as they are: only the top one has the options. */
function mountsBelow({ source: place = '', destination, options = [] }: Mount, asked: Mount): Mount[] {
  if (!options.includes('rbind')) return [];
  const access = isRecursiveReadOnly(asked) ? ['ro'] : [];
  const plain = options.filter((option) => option !== 'ro' && option !== 'rw');
  return readMounts().flatMap(({ target }) =>
    target.startsWith(`${place}/`)
      ? [
          {
            destination: destination + target.slice(place.length),
            type: 'bind',
            source: target,
            options: [...plain, ...access],
          },
        ]
      : [],
  );
}

interface BorrowedNamespace extends AsyncDisposable {
  readonly path: string;
}

/** The pod's own where the mapping is the pod's, as it nearly always is. */
async function namespaceOf(
  deps: BoundMountsDeps,
  { spec, mount }: OneMount,
): Promise<BorrowedNamespace | undefined> {
  if (!isMapped(mount)) return undefined;
  const { uidMappings = [], gidMappings = [] } = mount;
  const { linux } = spec;
  const path = linux.namespaces.find(({ type }) => type === 'user')?.path;
  const isPods = isSame(uidMappings, linux.uidMappings) && isSame(gidMappings, linux.gidMappings);
  if (path !== undefined && isPods) return { path, [Symbol.asyncDispose]: async () => undefined };
  const ids = { uids: uidMappings.map(toRange), gids: gidMappings.map(toRange) };
  const holder = await startInUserNamespace(deps.poller, ids);
  return {
    path: `/proc/${holder.pid}/ns/user`,
    [Symbol.asyncDispose]: async () => await holder[Symbol.asyncDispose](),
  };
}

function toRange({ containerID, hostID, size }: IdMapping) {
  return { containerId: containerID, hostId: hostID, length: size };
}

function isSame(one: readonly IdMapping[], other: readonly IdMapping[] = []): boolean {
  const text = (mappings: readonly IdMapping[]): string =>
    mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}`).join();
  return text(one) === text(other);
}
