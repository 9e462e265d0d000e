import type { Device, DeviceRule, Mount } from '../../oci/spec-types.ts';
import { podIds } from '../../sandbox/user-namespace.ts';
import { cleanPath } from './clean-path.ts';
import { invalidField } from './invalid-field.ts';
import type { GrantedDevice, SpecInput } from './spec-input.ts';

/** Device nodes to make in the container, and the rules of its device cgroup. */
export interface BuiltDevices {
  readonly devices: readonly Device[];
  readonly rules: readonly DeviceRule[];
}

/**
 * Devices of a container beside those that every runtime makes (null, zero, full, random, urandom, tty, ptmx). Privileged:
 * all of the node's, and no rule but "everything". The last one that is asked for at a path wins.
 *
 * @throws EngineError invalid-argument
 */
export function buildDevices(input: SpecInput): BuiltDevices {
  const { container, devices, hostDevices, cdi } = input;
  const granted = [...devices, ...(cdi?.devices ?? [])].map((grant) => checkedDevice(grant));
  const isPrivileged = container.linux.security.privileged;
  const nodes = new Map<string, Device>();
  for (const device of isPrivileged ? hostDevices : []) nodes.set(device.path, device);
  for (const { device } of granted) nodes.set(device.path, device);
  for (const { destination } of deviceMounts(input)) nodes.delete(destination);
  const rules: DeviceRule[] = isPrivileged
    ? [{ allow: true, access: 'rwm' }]
    : [
        { allow: false, access: 'rwm' },
        ...granted.filter(({ device }) => device.type !== 'p').map((grant) => ruleForDevice(grant)),
      ];
  return { devices: [...nodes.values()], rules };
}

/**
 * Inside a user namespace no device node can be made: runtimes bind the node's one from the same path. One that the
 * container is to have elsewhere is bound by a mount of the spec.
 */
export function deviceMounts({ pod, devices, cdi }: SpecInput): Mount[] {
  if (podIds(pod) === undefined) return [];
  const mounts = new Map<string, Mount>();
  for (const { device, hostPath } of [...devices, ...(cdi?.devices ?? [])]) {
    const destination = cleanPath(device.path, 'devices.container_path');
    mounts.delete(destination);
    if (hostPath === undefined) continue;
    const options = ['bind', 'rprivate', 'nosuid', 'noexec'];
    mounts.set(destination, { destination, type: 'bind', source: hostPath, options });
  }
  return [...mounts.values()];
}

/** `rwm` when nothing is asked for. @throws EngineError invalid-argument */
function checkPermissions(permissions: string | undefined): string {
  if (permissions === undefined) return 'rwm';
  if (!/^[rwm]{1,3}$/.test(permissions) || new Set(permissions).size !== permissions.length) {
    throw invalidField('devices.permissions', `${JSON.stringify(permissions)} is not made of r, w and m`);
  }
  return permissions;
}

/** @throws EngineError invalid-argument */
export function checkedDevice({ device, permissions }: GrantedDevice): GrantedDevice {
  return {
    device: { ...device, path: cleanPath(device.path, 'devices.container_path') },
    permissions: checkPermissions(permissions),
  };
}

/** The rule of the device cgroup that lets a device be used. */
export function ruleForDevice({ device, permissions }: GrantedDevice): DeviceRule {
  return {
    allow: true,
    type: device.type === 'b' ? 'b' : 'c',
    ...(device.major === undefined ? {} : { major: device.major }),
    ...(device.minor === undefined ? {} : { minor: device.minor }),
    access: permissions,
  };
}
