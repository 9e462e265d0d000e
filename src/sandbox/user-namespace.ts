/** Which user namespace a pod asks for, and whether it can have it. */
import { EngineError } from '../lib/errors.ts';
import type { IdMapping, PodConfig } from './pod-config.ts';

const field = 'userns_options';
/** The last id is the kernel's own word for "none". */
const maxIds = 2 ** 32 - 1;

/** The ids of a pod with a user namespace of its own, the same for users and groups; undefined without one. */
export function podIds({ namespaces: { user } }: Pick<PodConfig, 'namespaces'>): IdMapping | undefined {
  return user?.mode === 'pod' ? user.uids[0] : undefined;
}

/**
 * Refuses what is no user namespace of a pod: CRI has them with one mapping, which begins at root, the same for groups. It
 * leads to no root of the node, for which root in the pod is nobody. The node's processes and IPC belong to the node's users,
 * and cannot be shown inside.
 *
 * @throws EngineError invalid-argument
 */
export function checkUserNamespace({ namespaces }: PodConfig): void {
  const { user, pid, ipc } = namespaces;
  if (user === undefined) return;
  const lists = [user.uids, user.gids];
  if (user.mode === 'node') {
    if (lists.some((list) => list.length > 0))
      throw refusal('the node’s user namespace is asked for with mappings');
    return;
  }
  if (lists.some((list) => list.length !== 1))
    throw refusal('one mapping of users and one of groups is needed, no more');
  const [uids, gids] = [user.uids[0], user.gids[0]];
  if (uids === undefined || gids === undefined || !isSame(uids, gids))
    throw refusal('the mappings of users and groups differ');
  if (uids.containerId !== 0) throw refusal('id 0 of the container is not mapped');
  if (uids.hostId === 0) throw refusal('root in the pod would be the root of the node');
  if (uids.length === 0 || uids.hostId + uids.length > maxIds)
    throw refusal(`${uids.length} ids from ${uids.hostId} on are no range of ids`);
  if (pid.mode === 'node')
    throw refusal('a pod with a user namespace cannot use the PID namespace of the node');
  if (ipc.mode === 'node')
    throw refusal('a pod with a user namespace cannot use the IPC namespace of the node');
}

function isSame(one: IdMapping, other: IdMapping): boolean {
  return one.hostId === other.hostId && one.containerId === other.containerId && one.length === other.length;
}

function refusal(problem: string): EngineError {
  return new EngineError('invalid-argument', `${field}: ${problem}`);
}
