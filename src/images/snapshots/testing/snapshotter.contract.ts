/** What every snapshotter must do, whatever it is made of. */
import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { type ChainId, type ContainerId, newContainerId } from '../../../lib/ids.ts';
import { archive, entry } from '../../layers/testing/tar-build.ts';

/** The least that a contract needs. */
export interface Snapshotter {
  /** Unpacks a tar as the layer over `below` (bottom first). */
  addLayer(tar: Buffer, below: readonly ChainId[]): Promise<ChainId>;
  hasLayer(chainId: ChainId): boolean;
  prepare(key: ContainerId, chainIds: readonly ChainId[]): Promise<string>;
  unmount(key: ContainerId): Promise<void>;
  remove(key: ContainerId): Promise<void>;
  usage(key: ContainerId): Promise<{ bytes: number; inodes: number }>;
  mountReadOnly(chainIds: readonly ChainId[], target: string): Promise<void>;
  unmountReadOnly(target: string): Promise<void>;
  collect(keep: ReadonlySet<ChainId>): Promise<void>;
  keys(): readonly ContainerId[];
  /** An empty directory to mount at. */
  newDirectory(): string;
}

/** `name` is of the implementation; `snapshotter` is asked for when the first test runs. */
export function snapshotterContract(name: string, snapshotter: () => Snapshotter): void {
  suite(`snapshotter: ${name}`, () => {
    testLayers(snapshotter);
    testEdges(snapshotter);
    testLifecycle(snapshotter);
    testReadOnly(snapshotter);
    testCollection(snapshotter);
  });
}

async function chainOf(snapshots: Snapshotter, ...tars: readonly Buffer[]): Promise<ChainId[]> {
  const chain: ChainId[] = [];
  for (const tar of tars) chain.push(await snapshots.addLayer(tar, chain));
  return chain;
}

const names = (path: string): string[] => readdirSync(path).toSorted();

function layeredTars(): Buffer[] {
  return [
    archive(
      entry({ name: './', mode: 0o751, uid: 1, gid: 2 }),
      entry({ name: 'etc/' }),
      entry({ name: 'etc/passwd' }, 'root'),
      entry({ name: 'etc/gone' }, 'x'),
      entry({ name: 'opaque/' }),
      entry({ name: 'opaque/lower' }, 'x'),
      entry({ name: 'tmp/', mode: 0o1777, uid: 3, gid: 4 }),
      entry({ name: 'kind/' }),
      entry({ name: 'kind/inside' }, 'x'),
      entry({ name: 'was-link', type: '2', link: 'etc' }),
      entry({ name: 'remade/' }),
      entry({ name: 'remade/old' }, 'x'),
    ),
    archive(
      entry({ name: 'etc/.wh.gone' }),
      entry({ name: 'opaque/' }),
      entry({ name: 'opaque/.wh..wh..opq' }),
      entry({ name: 'opaque/upper' }, 'y'),
      entry({ name: 'tmp/implied' }, 'z'),
      entry({ name: 'kind' }, 'a file'),
      entry({ name: 'was-link/' }),
      entry({ name: '.wh.remade' }),
      entry({ name: 'remade/' }),
      entry({ name: 'remade/new' }, 'n'),
    ),
    archive(entry({ name: '.wh.absent' }), entry({ name: 'etc/passwd' }, 'root and more')),
  ];
}

function testLayers(snapshotter: () => Snapshotter): void {
  test('layers lie over each other: whiteouts, opaque directories, replaced kinds, implied directories', async () => {
    const snapshots = snapshotter();
    const chain = await chainOf(snapshots, ...layeredTars());
    const key = newContainerId();
    const rootfs = await snapshots.prepare(key, chain);
    assert.deepEqual(names(rootfs), ['etc', 'kind', 'opaque', 'remade', 'tmp', 'was-link']);
    assert.deepEqual(names(join(rootfs, 'etc')), ['passwd']);
    assert.equal(readFileSync(join(rootfs, 'etc/passwd'), 'utf8'), 'root and more');
    assert.deepEqual(names(join(rootfs, 'opaque')), ['upper']);
    assert.deepEqual(names(join(rootfs, 'remade')), ['new']);
    assert.equal(readFileSync(join(rootfs, 'kind'), 'utf8'), 'a file');
    assert.ok(lstatSync(join(rootfs, 'was-link')).isDirectory());
    const tmp = lstatSync(join(rootfs, 'tmp'));
    assert.deepEqual([tmp.mode, tmp.uid, tmp.gid], [0o41777, 3, 4], 'as the layer below says');
    const root = lstatSync(rootfs);
    assert.deepEqual([root.mode, root.uid, root.gid], [0o40751, 1, 2]);
    await snapshots.remove(key);
  });
}

function testEdges(snapshotter: () => Snapshotter): void {
  test('a layer that hides everything below, and an image without layers', async () => {
    const snapshots = snapshotter();
    const chain = await chainOf(
      snapshots,
      archive(entry({ name: 'hidden' }, 'x')),
      archive(entry({ name: '.wh..wh..opq' }), entry({ name: 'shown' }, 'y')),
      archive(entry({ name: 'top', type: '2', link: 'shown' })),
    );
    const key = newContainerId();
    const rootfs = await snapshots.prepare(key, chain);
    assert.deepEqual(names(rootfs), ['shown', 'top']);
    assert.equal(readlinkSync(join(rootfs, 'top')), 'shown');
    const empty = newContainerId();
    assert.deepEqual(names(await snapshots.prepare(empty, [])), []);
    await snapshots.remove(key);
    await snapshots.remove(empty);
  });
}

function testLifecycle(snapshotter: () => Snapshotter): void {
  test('two containers share layers and not what they write; it outlives unmounting', async () => {
    const snapshots = snapshotter();
    const chain = await chainOf(snapshots, archive(entry({ name: 'file' }, 'image')));
    const [one, two] = [newContainerId(), newContainerId()];
    const rootfs = await snapshots.prepare(one, chain);
    assert.equal(await snapshots.prepare(one, chain), rootfs, 'again is the same');
    writeFileSync(join(rootfs, 'file'), 'changed');
    mkdirSync(join(rootfs, 'made'));
    assert.equal(readFileSync(join(await snapshots.prepare(two, chain), 'file'), 'utf8'), 'image');
    assert.deepEqual([...snapshots.keys()].toSorted(), [one, two].toSorted());
    await snapshots.unmount(one);
    await snapshots.unmount(one);
    assert.equal(await snapshots.prepare(one, chain), rootfs);
    assert.equal(readFileSync(join(rootfs, 'file'), 'utf8'), 'changed');
    const usage = await snapshots.usage(one);
    assert.ok(usage.bytes >= 4096 && usage.inodes >= 2, JSON.stringify(usage));
    for (const key of [one, two, one]) await snapshots.remove(key);
    assert.deepEqual(snapshots.keys(), []);
    await snapshots.unmount(one);
    await assert.rejects(snapshots.usage(one), { kind: 'not-found' });
  });

  test('a missing layer is named, and nothing is left; a key has one image', async () => {
    const snapshots = snapshotter();
    const chain = await chainOf(
      snapshots,
      archive(entry({ name: 'a' }, '1')),
      archive(entry({ name: 'b' }, '2')),
    );
    const missing = `sha256:${'0'.repeat(64)}` as ChainId;
    const key = newContainerId();
    await assert.rejects(snapshots.prepare(key, [...chain, missing]), {
      kind: 'not-found',
      message: new RegExp(missing),
    });
    assert.deepEqual(snapshots.keys(), []);
    await snapshots.prepare(key, chain);
    await assert.rejects(snapshots.prepare(key, chain.slice(0, 1)), { kind: 'already-exists' });
    await snapshots.remove(key);
  });
}

function testReadOnly(snapshotter: () => Snapshotter): void {
  test('an image mounted read-only cannot be written, and is undone twice without harm', async () => {
    const snapshots = snapshotter();
    const chain = await chainOf(
      snapshots,
      archive(entry({ name: 'model' }, 'weights'), entry({ name: '.wh.nothing' })),
    );
    const target = snapshots.newDirectory();
    await snapshots.mountReadOnly(chain, target);
    await snapshots.mountReadOnly(chain, target);
    assert.deepEqual(names(target), ['model']);
    assert.throws(() => writeFileSync(join(target, 'model'), 'x'), { code: 'EROFS' });
    await snapshots.collect(new Set());
    assert.equal(readFileSync(join(target, 'model'), 'utf8'), 'weights', 'a mounted image keeps its layers');
    await snapshots.unmountReadOnly(target);
    await snapshots.unmountReadOnly(target);
    assert.deepEqual(names(target), []);
    const scratch = snapshots.newDirectory();
    await snapshots.mountReadOnly([], scratch);
    assert.deepEqual(names(scratch), []);
    await snapshots.unmountReadOnly(scratch);
  });
}

function testCollection(snapshotter: () => Snapshotter): void {
  test('layers are collected unless they are kept or below a snapshot', async () => {
    const snapshots = snapshotter();
    const [base, top] = await chainOf(
      snapshots,
      archive(entry({ name: 'c' }, '3')),
      archive(entry({ name: 'd' }, '4')),
    );
    const [kept, free] = [
      await snapshots.addLayer(archive(entry({ name: 'e' }, '5')), []),
      await snapshots.addLayer(archive(entry({ name: 'f' }, '6')), []),
    ];
    assert.ok(base !== undefined && top !== undefined);
    const key = newContainerId();
    await snapshots.prepare(key, [base, top]);
    await snapshots.collect(new Set([kept]));
    assert.deepEqual(
      [base, top, kept, free].map((id) => snapshots.hasLayer(id)),
      [true, true, true, false],
    );
    await snapshots.remove(key);
    await snapshots.collect(new Set());
    assert.deepEqual(
      [base, top, kept].map((id) => snapshots.hasLayer(id)),
      [false, false, false],
    );
    assert.equal(await snapshots.addLayer(archive(entry({ name: 'c' }, '3')), []), base, 'and can come back');
    await snapshots.collect(new Set());
  });
}
