import type { Namespace, NamespaceType } from '../../../oci/spec-types.ts';
import { cleanPath } from '../clean-path.ts';
import { invalidField } from '../invalid-field.ts';
import { changedList } from './entries.ts';
import type { JoinedNamespaces } from './joined-namespaces.ts';
import type { SpecAdjustment } from './spec-adjustment.ts';

const namespaceTypes: ReadonlySet<string> = new Set<NamespaceType>([
  'pid',
  'network',
  'mount',
  'ipc',
  'uts',
  'user',
  'cgroup',
  'time',
]);

/**
 * The namespaces as they are to be: new ones, and others by a path, yet none of the node's that the request keeps the
 * container out of. In the node's mount namespace the runtime would take the node's own root away; a user namespace
 * decides what root in it is, with the mappings of the pod.
 *
 * @throws EngineError invalid-argument
 */
export function adjustNamespaces(
  namespaces: readonly Namespace[],
  change: SpecAdjustment['namespaces'],
  joined: JoinedNamespaces,
): Namespace[] {
  const isApart = (type: string): boolean => namespaces.some((namespace) => namespace.type === type);
  const set = change.set.map(({ type, path }): Namespace => {
    if (!isNamespaceType(type))
      throw invalidField('namespaces', `${JSON.stringify(type)} is not a kind of namespace`);
    if (type === 'user')
      throw invalidField('namespaces', 'whether a pod has a user namespace is its own to say');
    if (path === undefined) return { type };
    if (type === 'mount') throw invalidField('namespaces', 'a container has a mount namespace of its own');
    return { type, path: checkedPath(cleanPath(path, `namespaces[${type}].path`), joined, isApart(type)) };
  });
  const left = change.remove.find((type) => isApart(type) && !set.some((entry) => entry.type === type));
  if (left !== undefined)
    throw invalidField('namespaces', `the container would be in the ${left} namespace of the node`);
  return changedList(namespaces, ({ type }) => type, { remove: change.remove, set });
}

function isNamespaceType(type: string): type is NamespaceType {
  return namespaceTypes.has(type);
}

function checkedPath(path: string, joined: JoinedNamespaces, isApart: boolean): string {
  const owner = joined.get(path) ?? 'none';
  if (owner === 'none') throw invalidField('namespaces', `${JSON.stringify(path)} is not a namespace`);
  if (owner === 'node' && isApart)
    throw invalidField('namespaces', `${JSON.stringify(path)} is a namespace of the node`);
  return path;
}
