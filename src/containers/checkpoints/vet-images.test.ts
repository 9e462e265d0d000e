import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ErrorKind, isKind, messageOf } from '../../lib/errors.ts';
import type { Spec } from '../../oci/spec-types.ts';
import {
  core,
  credentials,
  type Fields,
  fittingImages,
  fittingSpec,
  ids,
  image,
  mounts,
} from './testing/fitting-images.ts';
import { vetImages } from './vet-images.ts';

const base = mkdtempSync(join(tmpdir(), 'gantry-vet-'));
after(() => rmSync(base, { recursive: true }));
mkdirSync(join(base, 'rootfs/proc'), { recursive: true });

const spec = fittingSpec(join(base, 'rootfs'));

let count = 0;
async function vet(files: Readonly<Record<string, Buffer | undefined>>, changed: Spec = spec): Promise<void> {
  count += 1;
  const directory = join(base, `images-${count}`);
  mkdirSync(directory);
  for (const [name, bytes] of Object.entries({ ...fittingImages, ...files }))
    if (bytes !== undefined) writeFileSync(join(directory, name), bytes);
  await vetImages(changed, directory);
}

test('a checkpoint that has what its request gives', async () => {
  await vet({});
});

const withMount = (...more: readonly Fields[]): Buffer => image(...mounts, ...more);
const replaced = (index: number, more: Fields): Buffer =>
  image(...mounts.map((mount, at) => (at === index ? { ...mount, ...more } : mount)));

const attacks: readonly (readonly [
  what: string,
  kind: ErrorKind,
  reason: RegExp,
  Record<string, Buffer | undefined>,
])[] = [
  [
    'a capability',
    'permission-denied',
    /CAP_NET_ADMIN \(bounding\)/,
    { 'core-1.img': image(core({ creds: { 12: [1 << 12] } })) },
  ],
  [
    'an effective one that may only be had later',
    'permission-denied',
    /CAP_KILL \(effective\)/,
    { 'core-1.img': image(core({ creds: { 11: [0x20] } })) },
  ],
  [
    'one of the second word',
    'permission-denied',
    /CAP_BPF/,
    { 'core-1.img': image(core({ creds: { 10: [0, 1 << 7] } })) },
  ],
  [
    'one beyond all that are known',
    'permission-denied',
    /capability 95/,
    { 'core-1.img': image(core({ creds: { 10: [0, 0, 2 ** 31] } })) },
  ],
  [
    'packed ones',
    'permission-denied',
    /CAP_KILL \(permitted\)/,
    { 'core-1.img': image(core({ creds: { 10: Buffer.from([0x20]) } })) },
  ],
  [
    'a second process',
    'permission-denied',
    /CAP_SYS_ADMIN/,
    { 'core-77.img': image(core({ creds: { 10: [1 << 21] } })) },
  ],
  ['no credentials', 'permission-denied', /no credentials/, { 'core-1.img': image({ 1: 1, 5: { 11: 2 } }) }],
  [
    'credentials twice',
    'data-loss',
    /more than once/,
    { 'core-1.img': image({ 1: 1, 5: { 10: [credentials, credentials], 11: 2 } }) },
  ],
  [
    'no seccomp filter',
    'permission-denied',
    /no seccomp filter/,
    { 'core-1.img': image(core({ thread: { 11: 0 } })) },
  ],
  [
    'a nice value',
    'permission-denied',
    /nice value -20/,
    { 'core-1.img': image(core({ thread: { 3: 39 } })) },
  ],
  [
    'a realtime policy of one thread',
    'permission-denied',
    /scheduling policy 1,/,
    { 'core-2.img': image({ 1: 1, 5: { 10: credentials, 11: 2, 4: 0x4000_0001, 5: 99 } }) },
  ],
  [
    'a deadline policy',
    'permission-denied',
    /scheduling policy 6,/,
    { 'core-1.img': image(core({ thread: { 4: 6 } })) },
  ],
  [
    'an oom_score_adj',
    'permission-denied',
    /oom_score_adj -999/,
    { 'core-1.img': image(core({ task: { 14: -999 } })) },
  ],
  [
    'no word on the oom_score_adj',
    'permission-denied',
    /not which oom_score_adj/,
    { 'core-1.img': image({ ...core(), 3: { 1: 1 } }) },
  ],
  ['no process', 'permission-denied', /no process/, { 'core-1.img': undefined }],
  [
    'the mount namespace of the node',
    'permission-denied',
    /in the mount namespace of the node/,
    { 'ids-1.img': image({ ...ids, 9: 5 }) },
  ],
  [
    'the pid namespace left out',
    'permission-denied',
    /in the pid namespace of the node/,
    { 'ids-1.img': image({ ...ids, 5: 0 }) },
  ],
  [
    'no word on namespaces',
    'permission-denied',
    /which namespaces/,
    { 'inventory.img': image({ 1: 1 }).subarray(4) },
  ],
  [
    'a mount',
    'permission-denied',
    /a mount at "\/host"/,
    { 'mountpoints-13.img': withMount({ 1: 17, 2: 9, 5: 0, 7: '/host', 9: 'lowerdir=/' }) },
  ],
  [
    'a mount by a winding way',
    'permission-denied',
    /a mount at "\/host"/,
    { 'mountpoints-13.img': withMount({ 1: 17, 2: 9, 5: 0, 7: '/proc/../host' }) },
  ],
  [
    'a mount twice',
    'permission-denied',
    /two mounts at "\/proc"/,
    { 'mountpoints-13.img': withMount({ 1: 1, 2: 9, 5: 2, 7: '/proc/' }) },
  ],
  [
    'another file system',
    'permission-denied',
    /not the proc/,
    { 'mountpoints-13.img': replaced(1, { 1: 3 }) },
  ],
  [
    'a mount of another key',
    'permission-denied',
    /is another one/,
    { 'mountpoints-13.img': replaced(2, { 18: '/etc/hosts' }) },
  ],
  [
    'a writable mount',
    'permission-denied',
    /"\/data" is not ro/,
    { 'mountpoints-13.img': replaced(2, { 5: 0 }) },
  ],
  [
    'a mount without nosuid',
    'permission-denied',
    /"\/proc" is not nosuid/,
    { 'mountpoints-13.img': replaced(1, { 5: 0 }) },
  ],
  [
    'a shared mount',
    'permission-denied',
    /shared with others/,
    { 'mountpoints-13.img': replaced(2, { 10: 7 }) },
  ],
  [
    'no mask',
    'permission-denied',
    /"\/proc\/uptime" is not protected/,
    { 'mountpoints-13.img': image(...mounts.slice(0, 3)) },
  ],
  [
    'another thing in the place of a mask',
    'permission-denied',
    /shows something else/,
    { 'mountpoints-13.img': replaced(3, { 18: '/data' }) },
  ],
  [
    'a second mount namespace',
    'permission-denied',
    /2 mount namespaces/,
    { 'mountpoints-14.img': image(...mounts) },
  ],
  ['links of a network', 'permission-denied', /"netdev-10.img"/, { 'netdev-10.img': image() }],
  ['firewall rules', 'permission-denied', /"iptables-10.img"/, { 'iptables-10.img': image() }],
  ['AppArmor policies', 'permission-denied', /"apparmor.img"/, { 'apparmor.img': image() }],
  [
    'a cgroup elsewhere',
    'permission-denied',
    /leads elsewhere/,
    { 'cgroup.img': image({ 2: { 1: 'cpu', 2: { 1: 'a', 2: { 1: '../../b' } } } }) },
  ],
  [
    'a process of the node as a cgroup’s property',
    'permission-denied',
    /moves processes/,
    { 'cgroup.img': image({ 2: { 1: '', 2: { 1: 'a', 3: { 1: 'cgroup.threads', 2: '1' } } } }) },
  ],
  [
    'a path as a cgroup’s property',
    'permission-denied',
    /is a path/,
    { 'cgroup.img': image({ 2: { 1: 'cpu', 2: { 1: 'a', 3: { 1: '../x', 2: '1' } } } }) },
  ],
  ['an image that is cut off', 'data-loss', /"core-1.img"/, { 'core-1.img': image(core()).subarray(0, 20) }],
  ['an image that is none', 'data-loss', /"ids-1.img"/, { 'ids-1.img': Buffer.from('x') }],
  [
    'an entry longer than its file',
    'data-loss',
    /"core-1.img"/,
    { 'core-1.img': Buffer.from('0123456789abcdef') },
  ],
];

for (const [what, kind, reason, files] of attacks)
  test(`refused: ${what}`, async () => {
    await assert.rejects(vet(files), (error) => {
      assert.match(messageOf(error), reason);
      return isKind(error, kind);
    });
  });

test('a thread that is nicer, and one that the request lets be less so', async () => {
  await vet({ 'core-1.img': image(core({ thread: { 3: 38, 4: 3 } })) });
  const { process } = spec;
  const permitted = ['CAP_CHOWN', 'CAP_SYS_NICE'];
  const allowed = { ...spec, process: { ...process, capabilities: { ...process.capabilities, permitted } } };
  await vet({ 'core-1.img': image(core({ thread: { 3: 39, 4: 2, 5: 1 } })) }, allowed);
  const scheduler = { policy: 'SCHED_OTHER', nice: -10 };
  const slower = { ...spec, process: { ...process, scheduler } };
  await vet({ 'core-1.img': image(core({ thread: { 3: 19 } })) }, slower);
  await assert.rejects(vet({ 'core-1.img': image(core({ thread: { 3: 21 } })) }, slower), /nice value -11/);
});

test('a thread that is no process has no oom_score_adj of its own', async () => {
  await vet({ 'core-2.img': image({ 1: 1, 5: { 10: credentials, 11: 2 } }) });
});

test('what is a right of the request alone is asked of every thread', async () => {
  const { process } = spec;
  const denied = async (changed: Spec, reason: RegExp) => await assert.rejects(vet({}, changed), reason);
  await denied({ ...spec, process: { ...process, user: { uid: 1000, gid: 0 } } }, /runs as root/);
  await denied({ ...spec, process: { ...process, noNewPrivileges: true } }, /can gain privileges/);
  await denied({ ...spec, root: { ...spec.root, readonly: true } }, /"\/" is not ro/);
  const user = { type: 'user' } as const;
  await denied(
    { ...spec, linux: { ...spec.linux, namespaces: [...spec.linux.namespaces, user] } },
    /user namespace/,
  );
});
