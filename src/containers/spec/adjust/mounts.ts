import type { Mount, RootfsPropagation, Spec } from '../../../oci/spec-types.ts';
import { cleanPath } from '../clean-path.ts';
import { invalidField } from '../invalid-field.ts';
import { checkMountPoint } from '../mount-points.ts';
import { byDepth } from '../mounts.ts';
import { changedList } from './entries.ts';
import type { ListChange } from './spec-adjustment.ts';

/** Asks the engine to label what is mounted: not an option of mount(8). */
export const relabelOption = 'relabel';

/** The mounts after a change, shallow paths before deep ones so that none hides another. @throws EngineError invalid-argument */
export function adjustMounts(
  { mounts, linux }: Spec,
  change: ListChange<Mount>,
  fromCdi: readonly Mount[],
): { readonly mounts: readonly Mount[]; readonly rootfsPropagation?: RootfsPropagation } {
  // The runtime makes device nodes in it: what else lay there could lead them anywhere.
  if ([...change.remove, ...change.set.map(({ destination }) => destination)].includes('/dev'))
    throw invalidField('mounts', 'the /dev of a container stays');
  const set = change.set.map((mount, index) => checked(mount, `mounts[${index}]`));
  if (set.length === 0 && fromCdi.length === 0 && change.remove.length === 0) return { mounts };
  const changed = changedList(mounts, ({ destination }) => destination, {
    remove: change.remove,
    set: [...fromCdi, ...set],
  });
  const propagation = rootPropagation(set, linux.rootfsPropagation);
  return {
    mounts: byDepth(changed),
    ...(propagation === undefined ? {} : { rootfsPropagation: propagation }),
  };
}

function checked(mount: Mount, field: string): Mount {
  const destination = cleanPath(mount.destination, `${field}.destination`);
  const { type = 'bind', source = '', options = [] } = mount;
  const isBind = type === 'bind' || options.includes('bind') || options.includes('rbind');
  const from = isBind ? cleanPath(source, `${field}.source`) : source;
  checkMountPoint(destination, from, field);
  if ([type, from, ...options].some((text) => text.includes('\0')))
    throw invalidField(field, 'holds a NUL character');
  return { destination, type, source: from, options: options.filter((option) => option !== relabelOption) };
}

function rootPropagation(
  mounts: readonly Mount[],
  current: RootfsPropagation | undefined,
): RootfsPropagation | undefined {
  const wanted = new Set(mounts.flatMap(({ options }) => options ?? []));
  if (wanted.has('rshared') || wanted.has('shared')) return 'rshared';
  const isWide = current === 'rshared' || current === 'shared';
  return (wanted.has('rslave') || wanted.has('slave')) && !isWide ? 'rslave' : undefined;
}
