/**
 * CRIU does as its images say: they name the users and capabilities of processes, their seccomp filters, namespaces and mounts. An
 * archive may come from anywhere, so all that could give a container more than its request does is compared with the request first.
 * What is not compared, and why that is safe enough, is in docs/security.md.
 */
import { readdir } from 'node:fs/promises';
import { quote } from '../../lib/ids.ts';
import type { Spec } from '../../oci/spec-types.ts';
import { type Message, messagesIn, readImage, textOf } from './criu-images.ts';
import { tooMuch } from './too-much.ts';
import { vetMounts } from './vet-mounts.ts';
import { vetProcesses } from './vet-processes.ts';

/** Images that change what lies outside of a container: links, firewalls and routes of a network, user namespaces, LSM policies. */
const foreign =
  /^(?:netdev|ifaddr|ip6?tables|nftables|route6?|rule|netns-ct|netns-exp|userns|apparmor|binfmt-misc|autofs)\b/;

/** @throws EngineError permission-denied naming what is too much, data-loss for images that cannot be read */
export async function vetImages(spec: Spec, directory: string): Promise<void> {
  if (spec.linux.namespaces.some(({ type }) => type === 'user'))
    throw tooMuch('containers with a user namespace are not restored');
  const files = await readdir(directory);
  const strange = files.find((name) => foreign.test(name));
  if (strange !== undefined) throw tooMuch(`it has ${quote(strange)}, which is not restored`);
  await vetProcesses(spec, directory, files);
  vetMounts(spec, directory, files);
  if (files.includes('cgroup.img')) vetCgroups(directory);
}

/** Field numbers of CRIU's images/cgroup.proto. */
const cgroup = {
  sets: 1,
  controllers: 2,
  members: 2,
  dirs: 2,
  children: 2,
  properties: 3,
  name: 1,
  path: 2,
} as const;

/** The container's cgroup takes the place of its old one (`adoptUnifiedCgroup`; on v1 by the runtime); no name may lead out of it again. */
function vetCgroups(directory: string): void {
  for (const image of readImage(directory, 'cgroup.img')) {
    for (const set of messagesIn(image, cgroup.sets))
      for (const member of messagesIn(set, cgroup.members)) vetPath(textOf(member, cgroup.path));
    for (const controller of messagesIn(image, cgroup.controllers))
      for (const dir of messagesIn(controller, cgroup.dirs)) vetDirectory(dir, 0);
  }
}

const maxDepth = 64;

function vetDirectory(dir: Message, depth: number): void {
  if (depth > maxDepth) throw tooMuch('its cgroups are too deep');
  vetPath(textOf(dir, cgroup.name));
  for (const property of messagesIn(dir, cgroup.properties)) {
    const name = textOf(property, cgroup.name);
    if (/\/|^\.\.?$/.test(name)) throw tooMuch('a cgroup property of it is a path');
    // Its value is a process of the node, which CRIU would move; it skips the other files of this kind.
    if (name === 'cgroup.threads') throw tooMuch('a cgroup property of it moves processes');
  }
  for (const child of messagesIn(dir, cgroup.children)) vetDirectory(child, depth + 1);
}

function vetPath(path: string): void {
  if (path.split('/').some((part) => part === '..' || part === '.'))
    throw tooMuch(`its cgroup ${quote(path)} leads elsewhere`);
}
