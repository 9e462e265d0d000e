import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mountTmpfs, setPropagation, unmount } from '../linux/mount.ts';
import { readMounts } from '../linux/mountinfo.ts';
import { PathWorkers } from '../linux/path-worker.ts';
import { Poller } from '../linux/poll.ts';
import { enterPrivateMounts } from '../linux/private-mounts.ts';
import { startInUserNamespace } from '../linux/user-namespace.ts';
import type { Mount, Spec } from '../oci/spec-types.ts';
import { makeBoundMounts, removeBoundMounts, removeBoundVolumes } from './bound-mounts.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-bound-')));
mountTmpfs({ target: base });
const source = join(base, 'source');
for (const name of ['source/below', 'rootfs']) mkdirSync(join(base, name), { recursive: true });
mountTmpfs({ target: join(source, 'below') });
for (const name of ['file', 'below/file']) writeFileSync(join(source, name), 'kept');
const ids = [{ containerID: 0, hostID: 70_000, size: 65_536 }];
const runtime = { kind: 'runc', version: '1.1.5' } as const;
const paths = new PathWorkers();
let poller: Poller;
let holder: Awaited<ReturnType<typeof startInUserNamespace>>;

before(async () => {
  poller = new Poller();
  const range = { containerId: 0, hostId: 70_000, length: 65_536 };
  holder = await startInUserNamespace(poller, { uids: [range], gids: [range] });
});
after(async () => {
  await holder[Symbol.asyncDispose]();
  await poller[Symbol.asyncDispose]();
  await paths[Symbol.asyncDispose]();
  for (const path of [join(source, 'below'), base]) unmount(path, { lazy: true });
  rmSync(base, { recursive: true });
});

function specWith(mounts: readonly Mount[], isInside: boolean): Spec {
  const namespaces = [{ type: 'user', path: `/proc/${holder.pid}/ns/user` } as const];
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['x'], cwd: '/' },
    root: { path: join(base, 'rootfs') },
    mounts,
    linux: isInside ? { namespaces, uidMappings: ids, gidMappings: ids } : { namespaces: [] },
  };
}

const bind = (more: Partial<Mount> & { readonly options: readonly string[] }): Mount => ({
  destination: '/data',
  type: 'bind',
  source,
  ...more,
});
const mountsBelow = (directory: string): string[] =>
  readMounts().flatMap(({ target }) => (target.startsWith(`${directory}/`) ? [target] : []));

test('a container with nothing special keeps its spec, and nothing is made', async () => {
  const spec = specWith([bind({ options: ['rbind', 'ro'] })], false);
  const directory = join(base, 'none');
  assert.equal(await makeBoundMounts({ paths, poller }, { spec, directory, runtime }), spec);
  assert.ok(!existsSync(directory));
});

test('read-only with all below it: what is bound, and that the source stays as it is', async () => {
  const directory = join(base, 'read-only');
  const spec = specWith([bind({ options: ['rbind', 'rprivate', 'rro'] })], false);
  const { mounts } = await makeBoundMounts({ paths, poller }, { spec, directory, runtime });
  assert.deepEqual(mounts, [bind({ source: `${directory}/0`, options: ['rbind', 'rprivate', 'ro'] })]);
  for (const name of ['file', 'below/file']) {
    assert.throws(() => writeFileSync(`${directory}/0/${name}`, 'x'), { code: 'EROFS' });
    writeFileSync(join(source, name), 'kept');
  }
  for (const _ of [1, 2]) removeBoundMounts(directory);
  assert.ok(!existsSync(directory));
  assert.deepEqual(mountsBelow(directory), []);
  assert.deepEqual(readdirSync(join(source, 'below')), ['file'], 'what is mounted is never removed');
});

test('inside a user namespace: mapped where it is asked for, the pod’s root may pass, volumes go first', async () => {
  const directory = join(base, 'inside');
  const options = ['rbind', 'rprivate', 'rw'];
  const plain = bind({ destination: '/plain', options });
  const mapped = bind({ uidMappings: ids, gidMappings: ids, options });
  const sys = { destination: '/sys', type: 'bind', source: '/sys', options };
  const spec = specWith([mapped, plain, sys], true);
  const made = await makeBoundMounts({ paths, poller }, { spec, directory, runtime });
  assert.deepEqual(
    made.mounts.map((mount) => mount.source),
    [`${directory}/0`, `${directory}/1`, '/sys'],
  );
  assert.equal(made.root.path, `${directory}/rootfs`);
  assert.deepEqual(
    ['0/file', '0/below/file', '1/file'].map((name) => statSync(join(directory, name)).uid),
    [70_000, 70_000, 0],
  );
  const { mode, uid, gid } = statSync(directory);
  assert.deepEqual([mode & 0o7777, uid, gid], [0o710, 0, 70_000]);
  removeBoundVolumes(directory);
  assert.deepEqual(readdirSync(directory), ['rootfs']);
  removeBoundMounts(directory);
  assert.ok(!existsSync(directory));
});

test('crun before 1.9 is given the mounts below a bind mount one by one', async () => {
  const directory = join(base, 'old-crun');
  const spec = specWith([bind({ options: ['rbind', 'rprivate', 'rro'] })], true);
  const old = { kind: 'crun', version: '1.8.1' } as const;
  const { mounts } = await makeBoundMounts({ paths, poller }, { spec, directory, runtime: old });
  assert.deepEqual(
    mounts.map(({ destination, source: from, options }) => [destination, from, options?.at(-1)]),
    [
      ['/data', `${directory}/0`, 'ro'],
      ['/data/below', `${directory}/0/below`, 'ro'],
    ],
  );
  removeBoundMounts(directory);
});

test('what fails in the middle can be undone', async () => {
  const directory = join(base, 'failing');
  const missing = bind({ destination: '/missing', source: join(base, 'missing'), options: ['rbind'] });
  const spec = specWith([bind({ options: ['rbind'] }), missing], true);
  await assert.rejects(makeBoundMounts({ paths, poller }, { spec, directory, runtime }), /missing/);
  removeBoundMounts(directory);
  assert.ok(!existsSync(directory));
  assert.deepEqual(mountsBelow(directory), []);
});

test('a mapping that is not the pod’s is the mount’s own', async () => {
  const directory = join(base, 'own-mapping');
  const own = [{ containerID: 0, hostID: 200_000, size: 1000 }];
  const mapped = bind({ uidMappings: own, gidMappings: own, options: ['bind'] });
  const spec = specWith([mapped], true);
  await makeBoundMounts({ paths, poller }, { spec, directory, runtime });
  const { uid, gid } = statSync(join(directory, '0/file'));
  assert.deepEqual([uid, gid], [200_000, 200_000]);
  removeBoundMounts(directory);
});

test('a single file is bound as a file, and what is written to it stays', async () => {
  const directory = join(base, 'file');
  const file = join(source, 'file');
  const hosts = bind({ destination: '/etc/hosts', source: file, options: ['bind', 'rw'] });
  const { mounts } = await makeBoundMounts(
    { paths, poller },
    { spec: specWith([hosts], true), directory, runtime },
  );
  assert.deepEqual(mounts, [{ ...hosts, source: `${directory}/0` }]);
  writeFileSync(`${directory}/0`, 'written inside');
  removeBoundMounts(directory);
  assert.equal(readFileSync(file, 'utf8'), 'written inside');
  writeFileSync(file, 'kept');
});

test('what the node mounts later is there where it is asked for, and never the other way', async () => {
  const directory = join(base, 'later');
  const shared = join(base, 'shared');
  mkdirSync(shared);
  mountTmpfs({ target: shared });
  setPropagation(shared, 'shared');
  const follows = bind({ destination: '/follows', source: shared, options: ['rbind', 'rslave'] });
  const stays = bind({ destination: '/stays', source: shared, options: ['rbind', 'rprivate'] });
  const spec = specWith([follows, stays], true);
  await makeBoundMounts({ paths, poller }, { spec, directory, runtime });
  mkdirSync(join(shared, 'later'));
  mountTmpfs({ target: join(shared, 'later') });
  const isThere = (place: string): boolean => mountsBelow(directory).includes(`${directory}/${place}/later`);
  assert.deepEqual([isThere('0'), isThere('1')], [true, false]);
  removeBoundMounts(directory);
  assert.deepEqual(mountsBelow(shared), [join(shared, 'later')]);
  for (const target of [join(shared, 'later'), shared]) unmount(target);
});

test('a file system that cannot map ids is named with the mount, and nothing of it is left', async () => {
  const directory = join(base, 'cannot');
  const proc = bind({ source: '/proc/sys', uidMappings: ids, gidMappings: ids, options: ['rbind'] });
  await assert.rejects(
    makeBoundMounts({ paths, poller }, { spec: specWith([proc], true), directory, runtime }),
    {
      kind: 'failed-precondition',
      message: /mount of "\/data": the file system of "\/proc\/sys" cannot map/,
    },
  );
  removeBoundMounts(directory);
  assert.ok(!existsSync(directory));
});

test('removing what was never made does no harm', () => {
  removeBoundVolumes(join(base, 'never'));
  removeBoundMounts(join(base, 'never'));
});
