import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type ChainId, type ContainerId, newContainerId } from '../../lib/ids.ts';
import { mountTmpfs, unmount } from '../../linux/mount.ts';
import { readMounts } from '../../linux/mountinfo.ts';
import { PathWorkers } from '../../linux/path-worker.ts';
import { enterPrivateMounts } from '../../linux/private-mounts.ts';
import { LayerUnpacker } from '../layers/layer-unpacker.ts';
import { archive, diffIdOf, entry } from '../layers/testing/tar-build.ts';
import { CopySnapshotter } from './testing/copy-snapshotter.ts';
import { listImageMounts, mountReadOnly, unmountReadOnly } from './image-mounts.ts';
import { collectLayers, listLayers, sweepIngests } from './layer-store.ts';
import { SnapshotStore } from './snapshot-store.ts';
import { snapshotUsage } from './snapshot-usage.ts';
import { type Snapshotter, snapshotterContract } from './testing/snapshotter.contract.ts';
import { listSnapshots, prepareSnapshot, removeSnapshot, unmountSnapshot } from './snapshots.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-snapshot-')));
mountTmpfs({ target: base });
const paths = new PathWorkers();
const errors: unknown[] = [];
let clockMs = 1_000_000;

function newStore(root: string, deletionGraceMs = 60_000): SnapshotStore {
  return new SnapshotStore({
    root,
    paths,
    onError: (error) => errors.push(error),
    now: () => clockMs,
    usageMaxAgeMs: 10_000,
    deletionGraceMs,
  });
}

class OverlaySnapshotter implements Snapshotter {
  readonly store: SnapshotStore;
  readonly unpacker: LayerUnpacker;

  constructor(root: string) {
    this.store = newStore(root);
    this.unpacker = new LayerUnpacker({ maxWorkers: 1, snapshotRoot: root });
  }

  async addLayer(tar: Buffer, below: readonly ChainId[]): Promise<ChainId> {
    const diffId = diffIdOf(tar);
    const chainId = diffIdOf(Buffer.from(`${below.at(-1)} ${diffId}`)) as string as ChainId;
    async function* source(): AsyncGenerator<Uint8Array> {
      yield tar;
    }
    await this.unpacker.unpack({
      source: source(),
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      chainId,
      parentChainIds: below,
      expectedDiffId: diffId,
      signal: new AbortController().signal,
    });
    return chainId;
  }

  hasLayer(chainId: ChainId): boolean {
    return listLayers(this.store).some((layer) => layer.chainId === chainId);
  }

  async prepare(key: ContainerId, chainIds: readonly ChainId[]): Promise<string> {
    return (await prepareSnapshot(this.store, { key, chainIds })).rootfs;
  }

  async unmount(key: ContainerId): Promise<void> {
    await unmountSnapshot(this.store, key);
  }

  async remove(key: ContainerId): Promise<void> {
    await removeSnapshot(this.store, key);
  }

  async usage(key: ContainerId): Promise<{ bytes: number; inodes: number }> {
    return await snapshotUsage(this.store, key);
  }

  async mountReadOnly(chainIds: readonly ChainId[], target: string): Promise<void> {
    await mountReadOnly(this.store, { chainIds, target });
  }

  async unmountReadOnly(target: string): Promise<void> {
    await unmountReadOnly(this.store, target);
  }

  async collect(keep: ReadonlySet<ChainId>): Promise<void> {
    collectLayers(this.store, keep);
    await this.store.deleted();
  }

  keys(): readonly ContainerId[] {
    return listSnapshots(this.store).map((snapshot) => snapshot.key);
  }

  newDirectory(): string {
    return mkdtempSync(join(base, 'directory-'));
  }

  async close(): Promise<void> {
    await this.unpacker[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

const overlay = new OverlaySnapshotter(join(base, 'store'));
mkdirSync(join(base, 'copies'));
after(async () => {
  await overlay.close();
  await paths[Symbol.asyncDispose]();
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

snapshotterContract('overlay', () => overlay);
snapshotterContract('copies', () => new CopySnapshotter(mkdtempSync(join(base, 'copies', 'x-'))));

test('nothing is left of what the contract made', async () => {
  await overlay.store.deleted();
  const { root } = overlay.store;
  for (const name of ['snapshots', 'containers', 'image-mounts', 'trash']) {
    assert.deepEqual(readdirSync(join(root, name)), [], name);
  }
  assert.deepEqual(
    readMounts().filter((mount) => mount.target.startsWith(root)),
    [],
  );
  assert.deepEqual(errors, []);
});

test('a chain of 120 layers is mounted', async () => {
  const chain: ChainId[] = [];
  for (let index = 0; index < 120; index += 1) {
    chain.push(
      await overlay.addLayer(
        archive(entry({ name: `f${index}` }), entry({ name: 'top' }, String(index))),
        chain,
      ),
    );
  }
  const key = newContainerId();
  const rootfs = await overlay.prepare(key, chain);
  assert.equal(readdirSync(rootfs).length, 121);
  assert.equal(listLayers(overlay.store).length, 120);
  assert.equal(listLayers(overlay.store).find((layer) => layer.chainId === chain[5])?.inodes, 3);
  await overlay.remove(key);
  await overlay.collect(new Set());
});

test('du storms (kubernetes#61793, cri-dockerd#135, moby#39664): usage is walked once for many questions, and not again before its time', async () => {
  const chain = [await overlay.addLayer(archive(entry({ name: 'x' })), [])];
  const key = newContainerId();
  const rootfs = await overlay.prepare(key, chain);
  const [first, second] = await Promise.all([
    snapshotUsage(overlay.store, key),
    snapshotUsage(overlay.store, key),
  ]);
  assert.equal(first, second);
  writeFileSync(join(rootfs, 'new'), Buffer.alloc(100_000));
  clockMs += 9999;
  assert.equal(await snapshotUsage(overlay.store, key), first);
  clockMs += 1;
  assert.equal(
    await snapshotUsage(overlay.store, key),
    first,
    'the old value at once, a new one in the background',
  );
  const walked = await overlay.store.measuring.get(key);
  assert.ok(
    walked !== undefined && walked.bytes >= first.bytes + 100_000 && walked.inodes === first.inodes + 1,
  );
  assert.equal(await snapshotUsage(overlay.store, key), walked);
  await overlay.remove(key);
  await overlay.collect(new Set());
});

test('the kernel syncs nothing of a writable layer, and mounts it again within one boot', async () => {
  const root = join(base, 'volatile');
  await using store = newStore(root);
  const key = newContainerId();
  const optionsOf = (target: string): readonly string[] =>
    readMounts().find((mount) => mount.target === target)?.superOptions ?? [];
  for (let round = 0; round < 2; round += 1) {
    const { rootfs } = await prepareSnapshot(store, { key, chainIds: [] });
    // `fsync=volatile` on the newest kernels.
    assert.ok(optionsOf(rootfs).some((option) => /^(?:fsync=)?volatile$/.test(option)));
    await unmountSnapshot(store, key);
  }
  await removeSnapshot(store, key);
});

describe('a stop does not wait until everything is deleted: the next start deletes the rest', () => {
  const discarded = (
    root: string,
    deletionGraceMs?: number,
  ): { store: SnapshotStore; left: () => string[] } => {
    const store = newStore(root, deletionGraceMs);
    mkdirSync(join(root, 'big'));
    for (let index = 0; index < 5000; index += 1) writeFileSync(join(root, 'big', String(index)), '');
    errors.length = 0;
    store.discard(join(root, 'big'));
    return { store, left: () => readdirSync(join(root, 'trash'), { recursive: true, encoding: 'utf8' }) };
  };
  const endsWithNextStart = async (root: string): Promise<void> => {
    assert.deepEqual(errors, []);
    await using next = newStore(root);
    sweepIngests(next);
    await next.deleted();
    assert.deepEqual(readdirSync(join(root, 'trash')), []);
  };

  test('what is soon deleted leaves nothing', async () => {
    const root = join(base, 'soon-deleted');
    const { store, left } = discarded(root);
    await store[Symbol.asyncDispose]();
    assert.deepEqual(left(), []);
    assert.deepEqual(errors, []);
  });

  test('stopped before it began', async () => {
    const root = join(base, 'stopped');
    const { store, left } = discarded(root, 0);
    await store[Symbol.asyncDispose]();
    assert.equal(left().length, 5001);
    await endsWithNextStart(root);
  });

  test('stopped in the middle', async () => {
    const root = join(base, 'broken-off');
    const { store, left } = discarded(root, 0);
    while (left().length === 5001) await setImmediate();
    await store[Symbol.asyncDispose]();
    await endsWithNextStart(root);
  });
});

test('after a crash: the sweep deletes what was unfinished and keeps what was whole', async () => {
  const root = join(base, 'crashed');
  const before = new OverlaySnapshotter(root);
  const chain = [await before.addLayer(archive(entry({ name: 'whole' }, 'w')), [])];
  const key = newContainerId();
  await before.prepare(key, chain);
  const target = before.newDirectory();
  await before.mountReadOnly(chain, target);
  unmount(target);
  await before.unmount(key);
  mkdirSync(join(root, 'snapshots/ingest-dead/fs/a'), { recursive: true });
  mkdirSync(join(root, 'containers/.new-dead/upper'), { recursive: true });
  mkdirSync(join(root, 'trash/dead/x'), { recursive: true });
  writeFileSync(join(root, 'image-mounts/torn.json'), '{"tar');
  const torn = newContainerId();
  mkdirSync(join(root, 'containers', torn));
  writeFileSync(join(root, 'containers', torn, 'snapshot.json'), '');
  mkdirSync(join(root, 'snapshots', 'e'.repeat(64)));
  mkdirSync(join(root, 'snapshots', 'f'.repeat(64)));
  writeFileSync(join(root, 'snapshots', 'f'.repeat(64), 'layer.json'), '');
  await before.close();

  const store = newStore(root);
  errors.length = 0;
  sweepIngests(store);
  await store.deleted();
  assert.deepEqual(readdirSync(join(root, 'trash')), []);
  assert.deepEqual(readdirSync(join(root, 'image-mounts')), []);
  assert.deepEqual(listImageMounts(store), []);
  const found = new Map(listSnapshots(store).map((one) => [one.key, one.chainIds]));
  assert.deepEqual(
    found,
    new Map<ContainerId, readonly ChainId[]>([
      [key, chain],
      [torn, []],
    ]),
  );
  assert.equal(listLayers(store).length, 1);
  assert.equal(readdirSync(join(root, 'snapshots')).length, 1);
  assert.match(errors.map(String).join(), new RegExp(`${torn}.*`));
  assert.match(errors.map(String).join(), /f{64}\/layer.json/);
  const again = { key: torn, chainIds: chain };
  await assert.rejects(prepareSnapshot(store, again), { kind: 'data-loss', message: new RegExp(torn) });
  await removeSnapshot(store, torn);
  const { rootfs } = await prepareSnapshot(store, { key, chainIds: chain });
  assert.deepEqual(readdirSync(rootfs), ['whole']);
  await removeSnapshot(store, key);
  await store[Symbol.asyncDispose]();
  assert.ok(!existsSync(rootfs));
});

test('a full disk: a clear error and nothing left, of a layer as of a snapshot', async () => {
  const root = join(base, 'full');
  mkdirSync(root);
  mountTmpfs({ target: root, sizeBytes: 1024 * 1024 });
  const full = new OverlaySnapshotter(root);
  const tar = archive(entry({ name: 'small' }), entry({ name: 'large' }, Buffer.alloc(3 * 1024 * 1024, 1)));
  await assert.rejects(full.addLayer(tar, []), {
    kind: 'resource-exhausted',
    message: /unpack the layer sha256:.*entry "large".*ENOSPC/,
  });
  assert.deepEqual(readdirSync(join(root, 'snapshots')), []);
  const chain = [await full.addLayer(archive(entry({ name: 'small' })), [])];
  const filler = join(root, 'filler');
  assert.throws(() => writeFileSync(filler, Buffer.alloc(2 * 1024 * 1024)), { code: 'ENOSPC' });
  await assert.rejects(full.prepare(newContainerId(), chain), { kind: 'resource-exhausted' });
  await full.store.deleted();
  assert.deepEqual(readdirSync(join(root, 'containers')), []);
  rmSync(filler);
  const key = newContainerId();
  await full.prepare(key, chain);
  await full.remove(key);
  await full.store.deleted();
  await full.close();
  unmount(root);
});

test('a snapshot in use is taken away all the same', async () => {
  const chain = [await overlay.addLayer(archive(entry({ name: 'x' })), [])];
  const key = newContainerId();
  const rootfs = await overlay.prepare(key, chain);
  mountTmpfs({ target: join(rootfs, '..', 'rootfs') });
  mkdirSync(join(rootfs, 'inner'));
  mountTmpfs({ target: join(rootfs, 'inner') });
  await overlay.remove(key);
  assert.ok(!existsSync(rootfs));
  assert.deepEqual(
    readMounts().filter((mount) => mount.target.startsWith(rootfs)),
    [],
  );
  await overlay.collect(new Set());
});
