/** Device nodes of the node, as containers are given them. */
import { readdirSync, statSync, type Stats } from 'node:fs';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { deviceNumbers } from '../linux/device-number.ts';
import type { Device } from '../oci/spec-types.ts';
import type { DeviceRequest } from './container-config.ts';
import type { GrantedDevice } from './spec/spec-input.ts';

/** Mounts and links that a container has of its own below /dev. */
const ownEntries = new Set([
  '/dev/pts',
  '/dev/shm',
  '/dev/mqueue',
  '/dev/console',
  '/dev/fd',
  '/dev/.udev',
  '/dev/.lxc',
  '/dev/.lxd-mounts',
]);
const maxDepth = 8;

/** The device at a path of the node; undefined if there is something else or nothing. */
export function deviceAt(hostPath: string, containerPath: string = hostPath): Device | undefined {
  let status: Stats;
  try {
    status = statSync(hostPath);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const type = status.isBlockDevice() ? 'b' : status.isCharacterDevice() ? 'c' : undefined;
  if (type === undefined) return undefined;
  return {
    type,
    path: containerPath,
    ...deviceNumbers(status.rdev),
    fileMode: status.mode & 0o7777,
    uid: status.uid,
    gid: status.gid,
  };
}

/** Every device of the node, for privileged containers. */
export function allHostDevices(directory = '/dev', depth = 0): Device[] {
  if (depth > maxDepth) return [];
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (ownEntries.has(path)) return [];
    if (entry.isDirectory()) return allHostDevices(path, depth + 1);
    const device = entry.isBlockDevice() || entry.isCharacterDevice() ? deviceAt(path) : undefined;
    return device === undefined ? [] : [device];
  });
}

/**
 * The devices that a request names; a directory stands for every device below it.
 *
 * @throws EngineError failed-precondition naming a device that the node does not have
 */
export function grantedDevices(requests: readonly DeviceRequest[]): GrantedDevice[] {
  return requests.flatMap(({ hostPath, containerPath, permissions = 'rwm' }) => {
    const device = deviceAt(hostPath, containerPath);
    if (device !== undefined) return [{ device, permissions, ...elsewhere(hostPath, containerPath) }];
    const below =
      statSync(hostPath, { throwIfNoEntry: false })?.isDirectory() === true ? allHostDevices(hostPath) : [];
    if (below.length === 0)
      throw new EngineError('failed-precondition', `device ${quote(hostPath)} does not exist on this node`);
    return below.map((found) => {
      const path = containerPath + found.path.slice(hostPath.length);
      return { device: { ...found, path }, permissions, ...elsewhere(found.path, path) };
    });
  });
}

function elsewhere(hostPath: string, path: string): Pick<GrantedDevice, 'hostPath'> {
  return hostPath === path ? {} : { hostPath };
}
