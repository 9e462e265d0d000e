/** Names of cgroups under both drivers: pure text. */
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { CgroupDriver } from './host.ts';

/** Where a container's cgroup is. */
export interface ContainerCgroup {
  /** `linux.cgroupsPath` of the OCI spec. */
  readonly cgroupsPath: string;
  /** The path in the hierarchy, below which the runtime may make one more level. */
  readonly path: string;
}

/** The scope prefix of our containers: `cri-gantry-<id>.scope`. */
const scopePrefix = 'cri-gantry';

/** The kubelet's parent, or ours for a pod without one: `parent` is what the pod's record and `containerCgroup` take. */
export function podCgroupParent(
  driver: CgroupDriver,
  requested: string | undefined,
  sandboxId: string,
): { readonly parent: string; readonly isOwn: boolean } {
  if (requested !== undefined) return { parent: checkedParent(driver, requested), isOwn: false };
  return {
    parent: driver === 'systemd' ? `gantry-pod${sandboxId}.slice` : `/gantry/${sandboxId}`,
    isOwn: true,
  };
}

/**
 * The cgroup of a container below its pod's parent.
 * @throws EngineError invalid-argument for a parent that the driver cannot use, which is nearly always kubelet and engine with different drivers
 */
export function containerCgroup(driver: CgroupDriver, parent: string, containerId: string): ContainerCgroup {
  const checked = checkedParent(driver, parent);
  if (driver === 'systemd') {
    return {
      cgroupsPath: `${checked}:${scopePrefix}:${containerId}`,
      path: `${expandSlice(checked)}/${scopePrefix}-${containerId}.scope`,
    };
  }
  const path = `${checked === '/' ? '' : checked}/${containerId}`;
  return { cgroupsPath: path, path };
}

/** The path of a pod's parent in the hierarchy. */
export function parentPath(driver: CgroupDriver, parent: string): string {
  const checked = checkedParent(driver, parent);
  return driver === 'systemd' ? expandSlice(checked) : checked;
}

/**
 * systemd's hierarchy in the name: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` the root.
 * https://www.freedesktop.org/software/systemd/man/latest/systemd.slice.html
 */
export function expandSlice(slice: string): string {
  const name = slice.slice(0, -'.slice'.length);
  if (name === '-') return '';
  const parts = name.split('-');
  return parts.map((_part, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}

function checkedParent(driver: CgroupDriver, parent: string): string {
  if (parent.includes('\0') || parent.split('/').includes('..'))
    throw refuse(parent, 'it must not contain ".."');
  if (driver === 'cgroupfs') {
    const path = `/${parent.split('/').filter(Boolean).join('/')}`;
    // `slice:prefix:name` in a path would make a directory of that name, beside the one that the kubelet limits.
    if (parent.includes(':'))
      throw refuse(parent, 'the cgroup driver is cgroupfs, this is a name for systemd');
    return path;
  }
  // The kubelet sends the whole path of a slice, people send its name.
  const slice = parent.split('/').findLast(Boolean) ?? '-.slice';
  const isSlice = /^(?:-|[^-:/]+(?:-[^-:/]+)*)\.slice$/.test(slice);
  if (!isSlice)
    throw refuse(
      parent,
      'the cgroup driver is systemd, which needs the name of a slice (the kubelet must have cgroupDriver: systemd too)',
    );
  return slice;
}

function refuse(parent: string, reason: string): EngineError {
  return new EngineError('invalid-argument', `cgroup parent ${quote(parent)}: ${reason}`);
}
