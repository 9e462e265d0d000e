/** SELinux labels for what a container mounts, where the request asks for it. */
import { quote } from '../lib/ids.ts';
import { isAtOrBelow } from './spec/clean-path.ts';
import { invalidField } from './spec/invalid-field.ts';
import type { SpecMount } from './spec/spec-input.ts';
import { labelTreeInThread, type TreePaths } from './tree-jobs.ts';

/** These and all below them make up the host: no container's label, or the host itself loses them. */
const systemTrees = [
  '/bin',
  '/boot',
  '/dev',
  '/efi',
  '/etc',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/lost+found',
  '/ostree',
  '/proc',
  '/sbin',
  '/selinux',
  '/sys',
  '/sysroot',
  '/usr',
  '/run/dbus',
  '/run/systemd',
  '/run/udev',
  '/var/lib/kubelet/pki',
  '/var/lib/selinux',
  '/var/log/audit',
];

/** What is below these may be labelled, but not they themselves: much else lies there too. */
const sharedDirectories = [
  '/home',
  '/media',
  '/mnt',
  '/opt',
  '/root',
  '/run',
  '/srv',
  '/tmp',
  '/var',
  '/var/cache',
  '/var/home',
  '/var/lib',
  '/var/lib/containers',
  '/var/lib/docker',
  '/var/lib/containerd',
  '/var/lib/etcd',
  '/var/lib/kubelet',
  '/var/lib/kubelet/pods',
  '/var/log',
  '/var/log/containers',
  '/var/log/pods',
  '/var/mnt',
  '/var/opt',
  '/var/roothome',
  '/var/run',
  '/var/spool',
  '/var/srv',
  '/var/tmp',
  '/var/usrlocal',
];

/** The home of a user: without its label the user cannot log in. */
const home = /^\/(?:var\/)?home\/[^/]+$/;

/**
 * Why a host path must not be given a container's label, or undefined if it may (CVE-2021-43816).
 *
 * @param path absolute and plain, its symlinks followed
 * @param ownDirectories the engine's own, which keep their labels as well
 */
export function relabelRefusal(path: string, ownDirectories: readonly string[]): string | undefined {
  const isPlain = path === '/' || (path.startsWith('/') && !/\/\.{0,2}(?:\/|$)/.test(path));
  if (!isPlain) return 'it is not a plain path';
  const tree = [...systemTrees, ...ownDirectories].find((one) => isAtOrBelow(path, one));
  if (tree !== undefined) return `${quote(tree)} belongs to the host`;
  const protectedBelow = [...systemTrees, ...sharedDirectories, ...ownDirectories].find((one) =>
    isAtOrBelow(one, path),
  );
  if (protectedBelow !== undefined || home.test(path)) return 'it holds files of the host';
  return undefined;
}

export interface RelabelDeps {
  readonly paths: TreePaths;
  readonly ownDirectories: readonly string[];
}

/**
 * Gives the sources of all mounts that ask for it the label of the container. For hosts with SELinux only.
 *
 * @throws EngineError invalid-argument naming a path of the host, deadline-exceeded naming one that does not answer
 */
export async function relabelMounts(
  { paths, ownDirectories }: RelabelDeps,
  mounts: readonly SpecMount[],
  label: string,
  signal: AbortSignal,
): Promise<void> {
  const wanted = mounts.flatMap(({ request, source }, index) =>
    request.selinuxRelabel && request.image === undefined ? [{ source, index }] : [],
  );
  // All are judged before any is changed.
  for (const { source, index } of wanted) {
    const refusal = relabelRefusal(source, ownDirectories);
    if (refusal !== undefined) {
      throw invalidField(`mounts[${index}].selinux_relabel`, `${quote(source)} keeps its label: ${refusal}`);
    }
  }
  for (const { source } of wanted) await labelTreeInThread(paths, { path: source, label }, signal);
}
