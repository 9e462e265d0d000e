import { EngineError } from '../../lib/errors.ts';
import type { Mount, RootfsPropagation } from '../../oci/spec-types.ts';
import { cleanPath } from './clean-path.ts';
import { deviceMounts } from './devices.ts';
import { checkMountPoint } from './mount-points.ts';
import { toOciMappings } from './namespaces.ts';
import { kernelMounts, sandboxMounts } from './own-mounts.ts';
import { invalidField } from './invalid-field.ts';
import type { SpecInput, SpecMount } from './spec-input.ts';
import { podIds } from '../../sandbox/user-namespace.ts';
import type { MountRequest } from '../container-config.ts';

/** The mounts of a container in the order in which the runtime makes them, and what the root must propagate for them. */
export interface BuiltMounts {
  readonly mounts: readonly Mount[];
  readonly rootfsPropagation?: RootfsPropagation;
}

const propagationOption = {
  private: 'rprivate',
  'host-to-container': 'rslave',
  bidirectional: 'rshared',
} as const;

/**
 * Kernel filesystems first, then the sandbox's files, image volumes, CDI and the request, shallow paths before deep ones so
 * that none hides another: a mount over /etc leaves the pod's resolv.conf to be seen. A mount of the request replaces ours at the same place, and all of ours below it when it is /dev.
 *
 * @throws EngineError invalid-argument that names the mount, failed-precondition when the host cannot make it
 */
export function buildMounts(input: SpecInput): BuiltMounts {
  const requested = input.mounts.map((mount, index) => requestedMount(input, mount, `mounts[${index}]`));
  const taken = takenPaths(requested);
  const volumes = input.volumes
    .map((volume) => volumeMount(volume))
    .filter(({ destination }) => !taken.has(destination));
  const cdi = [...deviceMounts(input), ...(input.cdi?.mounts ?? [])].filter(
    ({ destination }) => !taken.has(destination),
  );
  const kernel = kernelMounts(input).filter((mount) => staysBeside(mount, taken));
  const sandbox = sandboxMounts(input).filter((mount) => staysBeside(mount, taken));
  const propagation = rootPropagation(input.mounts);
  return {
    mounts: [...kernel, ...byDepth([...sandbox, ...volumes, ...cdi, ...requested])],
    ...(propagation === undefined ? {} : { rootfsPropagation: propagation }),
  };
}

function takenPaths(requested: readonly Mount[]): Set<string> {
  const taken = new Set<string>();
  for (const { destination } of requested) {
    if (taken.has(destination))
      throw invalidField('mounts', `${JSON.stringify(destination)} is mounted twice`);
    taken.add(destination);
  }
  return taken;
}

/**
 * The tmpfs on /dev stays below a /dev of the request: an image whose /dev is a symlink then cannot lead the runtime's
 * device nodes anywhere else (runc CVE-2026-41579, crun CVE-2026-88264, CVE-2026-88265).
 */
function staysBeside({ destination }: Mount, taken: ReadonlySet<string>): boolean {
  if (destination === '/dev') return true;
  if (taken.has('/dev') && destination.startsWith('/dev/')) return false;
  return !taken.has(destination);
}

/** Parents before what lies in them; otherwise the order stays. */
export function byDepth(mounts: readonly Mount[]): Mount[] {
  const depth = ({ destination }: Mount) => destination.split('/').length;
  return mounts.toSorted((one, other) => depth(one) - depth(other));
}

function volumeMount({ path, source }: SpecInput['volumes'][number]): Mount {
  const destination = cleanPath(path, 'the image’s Volumes');
  if (destination === '/') throw invalidField('the image’s Volumes', 'the root cannot be a volume');
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', 'rw'] };
}

function requestedMount(input: SpecInput, mount: SpecMount, field: string): Mount {
  const { request, source } = mount;
  const destination = cleanPath(request.containerPath, `${field}.container_path`);
  checkMountPoint(destination, source, field);
  checkSource(mount, field);
  checkPropagation(input, mount, field);
  return {
    destination,
    type: 'bind',
    source,
    options: ['rbind', propagationOption[request.propagation], accessOption(input, mount, field)],
    ...mappingsOf(request, field),
  };
}

/** An image is mounted with the ids of the pod already. */
function mappingsOf({ uidMappings, gidMappings, image }: MountRequest, field: string): Partial<Mount> {
  if ((uidMappings.length === 0) !== (gidMappings.length === 0))
    throw invalidField(`${field}.uid_mappings`, 'users and groups are mapped together');
  if (uidMappings.length === 0 || image !== undefined) return {};
  return { uidMappings: toOciMappings(uidMappings), gidMappings: toOciMappings(gidMappings) };
}

function checkSource({ request, source }: SpecMount, field: string): void {
  const { image, hostPath, imageSubPath } = request;
  if (image !== undefined && hostPath !== undefined) {
    throw invalidField(`${field}.host_path`, 'a mount is of a host path or of an image, not of both');
  }
  if (image === undefined && hostPath === undefined) {
    throw invalidField(`${field}.host_path`, 'a mount needs a host path or an image');
  }
  if (image === undefined && imageSubPath !== undefined) {
    throw invalidField(`${field}.image_sub_path`, 'a sub path needs an image');
  }
  cleanPath(source, `${field}.host_path`);
}

function checkPropagation(
  { pod }: SpecInput,
  { request, sourcePropagation }: SpecMount,
  field: string,
): void {
  const { propagation, image, hostPath } = request;
  if (propagation === 'private') return;
  if (propagation === 'bidirectional' && podIds(pod) !== undefined)
    throw invalidField(`${field}.propagation`, 'nothing is passed out of a user namespace of the pod’s own');
  if (image !== undefined)
    throw invalidField(`${field}.propagation`, 'an image is mounted with private propagation only');
  const isShared = sourcePropagation === undefined || sourcePropagation === 'shared';
  if (propagation === 'bidirectional' ? !isShared : !isShared && sourcePropagation !== 'slave') {
    const needed = propagation === 'bidirectional' ? 'a shared' : 'a shared or slave';
    throw new EngineError(
      'failed-precondition',
      `${field}.propagation: ${JSON.stringify(hostPath)} is not on ${needed} mount of the node`,
    );
  }
}

function accessOption({ host }: SpecInput, { request }: SpecMount, field: string): 'rw' | 'ro' | 'rro' {
  if (!request.recursiveReadOnly) return request.readonly || request.image !== undefined ? 'ro' : 'rw';
  if (!request.readonly)
    throw invalidField(`${field}.recursive_read_only`, 'the mount itself is not read-only');
  if (request.propagation !== 'private') {
    throw invalidField(`${field}.recursive_read_only`, 'propagation must be private');
  }
  if (!host.recursiveReadOnlyMounts) {
    throw new EngineError(
      'failed-precondition',
      `${field}.recursive_read_only: the kernel cannot make recursive read-only mounts`,
    );
  }
  return 'rro';
}

function rootPropagation(mounts: readonly SpecMount[]): RootfsPropagation | undefined {
  const wanted = new Set(mounts.map(({ request }) => request.propagation));
  if (wanted.has('bidirectional')) return 'rshared';
  return wanted.has('host-to-container') ? 'rslave' : undefined;
}
