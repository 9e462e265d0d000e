import type { Mount } from '../../oci/spec-types.ts';
import type { SpecInput } from './spec-input.ts';

const guarded = ['nosuid', 'noexec', 'nodev'] as const;

/** The kernel's filesystems that every container has, parents first. */
export function kernelMounts(input: SpecInput): Mount[] {
  const access = input.container.linux.security.privileged ? 'rw' : 'ro';
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: [...guarded] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: [...guarded] },
    sysMount(input, access),
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: [...guarded, 'relatime', access],
    },
  ];
}

/**
 * Inside a user namespace the node's network may not be seen through a new sysfs: the node's own one is bound. What is mounted
 * into it then must not reach the node's.
 */
function sysMount({ container, host }: SpecInput, access: 'rw' | 'ro'): Mount {
  const { network, user } = container.linux.security.namespaces;
  if (network.mode !== 'node' || user === undefined || user.mode === 'node' || user.uids.length === 0) {
    return { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...guarded, access] };
  }
  const readonly = host.recursiveReadOnlyMounts ? 'rro' : 'ro';
  return {
    destination: '/sys',
    type: 'bind',
    source: '/sys',
    options: ['rbind', 'rprivate', ...guarded, readonly],
  };
}

/** What the sandbox lends: shared memory, and the three files that the pod's name and network decide. */
export function sandboxMounts(input: SpecInput): Mount[] {
  const { files } = input.sandbox;
  return [
    ...shmMount(input),
    ...fileMount(input, '/etc/hosts', files.hosts),
    ...fileMount(input, '/etc/hostname', files.hostname),
    ...fileMount(input, '/etc/resolv.conf', files.resolvConf),
  ];
}

function shmMount({ container, sandbox }: SpecInput): Mount[] {
  const destination = '/dev/shm';
  const { ipc } = container.linux.security.namespaces;
  if (ipc.mode === 'container' || sandbox.files.shm === undefined) {
    if (ipc.mode !== 'node') {
      return [
        { destination, type: 'tmpfs', source: 'shm', options: [...guarded, 'mode=1777', 'size=65536k'] },
      ];
    }
  }
  const source = ipc.mode === 'node' ? '/dev/shm' : sandbox.files.shm;
  return source === undefined
    ? []
    : [{ destination, type: 'bind', source, options: ['rbind', 'rprivate', ...guarded, 'rw'] }];
}

function fileMount({ container }: SpecInput, destination: string, source: string | undefined): Mount[] {
  if (source === undefined) return [];
  const access = container.linux.security.readonlyRootfs ? 'ro' : 'rw';
  return [{ destination, type: 'bind', source, options: ['rbind', 'rprivate', access] }];
}
