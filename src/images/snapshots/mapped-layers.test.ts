import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ChainId, newContainerId } from '../../lib/ids.ts';
import { runCommand } from '../../linux/command.ts';
import { bindMount, mountTmpfs, unmount } from '../../linux/mount.ts';
import { readMounts } from '../../linux/mountinfo.ts';
import { PathWorkers } from '../../linux/path-worker.ts';
import { Poller } from '../../linux/poll.ts';
import { enterPrivateMounts } from '../../linux/private-mounts.ts';
import { startInUserNamespace } from '../../linux/user-namespace.ts';
import { LayerUnpacker } from '../layers/layer-unpacker.ts';
import { archive, diffIdOf, entry } from '../layers/testing/tar-build.ts';
import { mountReadOnly, unmountReadOnly } from './image-mounts.ts';
import { sweepIngests } from './layer-store.ts';
import { SnapshotStore } from './snapshot-store.ts';
import type { MappedIds } from './snapshot-types.ts';
import { prepareSnapshot, removeSnapshot, upperDirectoryOf } from './snapshots.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-mapped-')));
mountTmpfs({ target: base });
const root = join(base, 'store');
const paths = new PathWorkers();
const store = new SnapshotStore({ root, paths, onError: (error) => assert.fail(String(error)) });
const range = { containerId: 0, hostId: 70_000, length: 65_536 };
let poller: Poller;
let holder: Awaited<ReturnType<typeof startInUserNamespace>>;
let ids: MappedIds;
let chainIds: ChainId[];

before(async () => {
  poller = new Poller();
  holder = await startInUserNamespace(poller, { uids: [range], gids: [range] });
  ids = { userNamespace: `/proc/${holder.pid}/ns/user`, hostId: range.hostId, length: range.length };
  chainIds = [
    await unpack(
      archive(
        entry({ name: './', mode: 0o750, uid: 1, gid: 2 }),
        entry({ name: 'root' }, 'r'),
        entry({ name: 'setuid', mode: 0o4755, uid: 5, gid: 6 }, 's'),
        entry({ name: 'far', uid: 100_000, gid: 100_000 }, 'f'),
      ),
    ),
  ];
});
after(async () => {
  await holder[Symbol.asyncDispose]();
  await poller[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await paths[Symbol.asyncDispose]();
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

async function unpack(tar: Buffer): Promise<ChainId> {
  await using unpacker = new LayerUnpacker({ maxWorkers: 1, snapshotRoot: root });
  const expectedDiffId = diffIdOf(tar);
  async function* source(): AsyncGenerator<Uint8Array> {
    yield tar;
  }
  await unpacker.unpack({
    source: source(),
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    chainId: expectedDiffId as string as ChainId,
    parentChainIds: [],
    expectedDiffId,
    signal: new AbortController().signal,
  });
  return expectedDiffId as string as ChainId;
}

const owner = (path: string): number[] => [statSync(path).uid, statSync(path).gid];
const views = (): string[] => readdirSync(root).filter((name) => name.startsWith('mapped-'));

test('containerd#8329, containerd#12329: a container with a user namespace sees its image as its own, and writes as its own root', async () => {
  const key = newContainerId();
  const { rootfs } = await prepareSnapshot(store, { key, chainIds, ids });
  assert.deepEqual(owner(rootfs), [70_001, 70_002]);
  assert.deepEqual(owner(join(rootfs, 'root')), [70_000, 70_000]);
  assert.deepEqual(owner(join(rootfs, 'setuid')), [70_005, 70_006]);
  assert.deepEqual(owner(join(rootfs, 'far')), [65_534, 65_534], 'ids that it does not have are nobody’s');
  const inside = ['--user', '--target', String(holder.pid)];
  const shell = ['sh', '-c', 'chown 7:8 root; echo x >new'];
  await runCommand(['nsenter', ...inside, ...shell], { cwd: rootfs, check: true });
  const upper = upperDirectoryOf(store, key);
  assert.deepEqual(owner(join(upper, 'root')), [70_007, 70_008]);
  assert.deepEqual(owner(join(upper, 'new')), [70_000, 70_000]);
  const layer = join(store.layerDirectory(chainIds[0] as ChainId), 'fs');
  assert.deepEqual(owner(join(layer, 'root')), [0, 0], 'the layer itself does not change');
  assert.deepEqual(views(), []);
  await removeSnapshot(store, key);
});

test('the same image beside it without a user namespace, and mounted read-only with one', async () => {
  const key = newContainerId();
  const { rootfs } = await prepareSnapshot(store, { key, chainIds });
  assert.deepEqual(owner(join(rootfs, 'setuid')), [5, 6]);
  const target = mkdtempSync(join(base, 'image-'));
  await mountReadOnly(store, { target, chainIds, ids });
  assert.deepEqual(owner(join(target, 'setuid')), [70_005, 70_006]);
  await unmountReadOnly(store, target);
  await removeSnapshot(store, key);
});

test('a user namespace that is gone fails by name and leaves nothing', async () => {
  const key = newContainerId();
  const gone = { ...ids, userNamespace: join(base, 'gone') };
  await assert.rejects(prepareSnapshot(store, { key, chainIds, ids: gone }), /gone/);
  assert.equal(existsSync(join(store.containersDirectory, key)), false);
  assert.deepEqual(views(), []);
});

test('a view that a killed daemon has left is swept', async () => {
  const left = join(root, 'mapped-left');
  mkdirSync(left);
  bindMount(store.layersDirectory, left, { idsOf: ids.userNamespace });
  sweepIngests(store);
  await store.deleted();
  assert.deepEqual(views(), []);
  assert.equal(
    readMounts().some(({ target }) => target === left),
    false,
  );
  assert.ok(existsSync(store.layerDirectory(chainIds[0] as ChainId)));
});
