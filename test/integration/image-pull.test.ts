/** Pulls from Debian's docker-registry into real layer directories. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { imageFsInfo } from '../../src/images/image-fs-info.ts';
import { defaultCertsRoots, type Images, type LayerStore, openImages } from '../../src/images/images.ts';
import { recoverImages } from '../../src/images/garbage-collection.ts';
import { LayerUnpacker } from '../../src/images/layers/layer-unpacker.ts';
import { pullImage } from '../../src/images/pull.ts';
import type { RegistryAuth } from '../../src/images/registry/credentials.ts';
import { removeImage } from '../../src/images/remove.ts';
import type { StoredLayer } from '../../src/images/snapshots/snapshot-types.ts';
import { resolveImage } from '../../src/images/store.ts';
import { buildImage, buildLayer, pushImage, pushIndex } from '../../src/images/testing/build-image.ts';
import type { ChainId } from '../../src/lib/ids.ts';
import { RecordDatabase } from '../../src/lib/records.ts';
import { mountTmpfs, unmount } from '../../src/linux/mount.ts';
import { missingDockerRegistry, startDockerRegistry } from '../fixtures/docker-registry.ts';

const never = new AbortController().signal;
const skip = (await missingDockerRegistry()) ?? (process.getuid?.() === 0 ? false : 'needs root');

/** Unpacks for real; keeps the list of layers in memory. */
function realLayers(unpacker: LayerUnpacker, snapshotRoot: string): LayerStore {
  const known = new Map<ChainId, StoredLayer>();
  return {
    get: (chainId) => known.get(chainId),
    list: () => known.values(),
    unpack: async (request) => {
      const layer = await unpacker.unpack(request);
      const { chainId } = request;
      known.set(chainId, { chainId, diffId: layer.diffId, bytes: layer.sizeBytes, inodes: layer.inodes });
      return layer;
    },
    remove: async (chainId) => {
      known.delete(chainId);
      await rm(layerPath(snapshotRoot, chainId), { recursive: true, force: true });
    },
  };
}

function layerPath(snapshotRoot: string, chainId: ChainId): string {
  return join(snapshotRoot, 'snapshots', chainId.slice('sha256:'.length));
}

interface Node extends AsyncDisposable {
  readonly images: Images;
  readonly directory: string;
  readonly layers: LayerStore;
}

/** `diskBytes` puts everything on a file system of that size. */
async function openNode(diskBytes?: number): Promise<Node> {
  const stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'gantry-node-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  if (diskBytes !== undefined) {
    mountTmpfs({ target: directory, sizeBytes: diskBytes });
    stack.defer(() => void unmount(directory));
  }
  const unpacker = stack.use(new LayerUnpacker({ maxWorkers: 2, snapshotRoot: directory, idleMs: 100 }));
  const database = stack.use(RecordDatabase.open(join(directory, 'state.db')));
  const layers = realLayers(unpacker, directory);
  const images = stack.use(
    await openImages({
      root: join(directory, 'images'),
      database,
      layers,
      chainIdsInUse: () => new Set(),
      certsRoots: defaultCertsRoots.map((root) => join(directory, root)),
      environment: {},
      pinnedImages: [],
      maxDownloads: 6,
      maxDownloadsPerPull: 3,
      pullProgressTimeoutMs: 30_000,
    }),
  );
  return { images, directory, layers, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function pull(node: Node, reference: string, auth?: RegistryAuth): ReturnType<typeof pullImage> {
  return pullImage(node.images, { reference, auth }, never);
}

test(
  'an image with layers of every compression is pulled, unpacked, found, and removed without a trace',
  { skip },
  async () => {
    await using registry = await startDockerRegistry();
    await using node = await openNode();
    const layers = await Promise.all([
      buildLayer(
        [
          { name: 'etc', type: 'directory' },
          { name: 'etc/hostname', content: 'fixture\n' },
        ],
        'gzip',
      ),
      buildLayer([{ name: 'bin/run', content: 'r'.repeat(3_000_000), mode: 0o755 }], 'zstd'),
      buildLayer(
        [{ name: 'etc/.wh.hostname' }, { name: 'link', type: 'symlink', linkname: 'bin/run' }],
        'none',
      ),
    ]);
    const built = buildImage({ layers, config: { Cmd: ['/bin/run'], Labels: { a: 'b' } } });
    await pushImage({ registryUrl: registry.url, repository: 'team/app', tag: 'v1' }, built);
    const image = await pull(node, `${registry.host}/team/app:v1`);
    assert.equal(image.id, built.config.digest);
    const [first, second] = image.layers;
    assert.ok(first && second);
    assert.equal(
      await readFile(join(layerPath(node.directory, first.chainId), 'fs/etc/hostname'), 'utf8'),
      'fixture\n',
    );
    const status = await stat(join(layerPath(node.directory, second.chainId), 'fs/bin/run'));
    assert.deepEqual([status.size, status.mode & 0o777], [3_000_000, 0o755]);
    assert.ok(image.sizeBytes > 3_000_000);
    assert.ok(imageFsInfo(node.images).usedInodes >= 5);
    assert.equal(resolveImage(node.images.store, image.id.slice(7, 19))?.id, image.id);
    const { dropped, collected } = await recoverImages(node.images);
    assert.deepEqual([dropped, collected.layers, collected.blobs], [[], [], []]);
    await removeImage(node.images, `${registry.host}/team/app:v1`);
    assert.deepEqual(await readdir(join(node.directory, 'snapshots')), []);
    assert.deepEqual(node.images.content.digests(), []);
  },
);

test(
  'an index is pushed and the entry of this machine is pulled; a missing tag is not found',
  { skip },
  async () => {
    await using registry = await startDockerRegistry();
    await using node = await openNode();
    const layer = await buildLayer([{ name: 'f', content: 'f' }]);
    const mine = buildImage({ layers: [layer] });
    const other = buildImage({ layers: [layer], platform: { os: 'linux', architecture: 'mips' } });
    await pushIndex({ registryUrl: registry.url, repository: 'multi', tag: 'latest' }, [other, mine]);
    assert.equal((await pull(node, `${registry.host}/multi`)).id, mine.config.digest);
    await assert.rejects(pull(node, `${registry.host}/multi:nope`), {
      kind: 'not-found',
      message: /MANIFEST_UNKNOWN/,
    });
  },
);

test('basic authentication by the CRI’s credentials', { skip }, async () => {
  // ann:secret
  const htpasswd = 'ann:$2b$04$BgnXPcO0pt0lyWbUEE2HMuHQvDw.PA5itgZDma7KDDBGfQhuFjp7e\n';
  await using registry = await startDockerRegistry({ htpasswd });
  await using node = await openNode();
  const reference = `${registry.host}/app:v1`;
  await assert.rejects(pull(node, reference), { kind: 'unauthenticated', message: /pull access denied/ });
  await assert.rejects(pull(node, reference, { username: 'ann', password: 'no' }), {
    kind: 'permission-denied',
  });
  await assert.rejects(pull(node, reference, { username: 'ann', password: 'secret' }), { kind: 'not-found' });
});

test(
  'a blob that the registry’s disk damaged is refused, and nothing of the image stays',
  { skip },
  async () => {
    await using registry = await startDockerRegistry();
    await using node = await openNode();
    const layers = await Promise.all([
      buildLayer([{ name: 'good', content: 'good' }]),
      buildLayer([{ name: 'bad', content: Buffer.alloc(200_000, 'x') }], 'none'),
    ]);
    const built = buildImage({ layers });
    await pushImage({ registryUrl: registry.url, repository: 'app', tag: 'v1' }, built);
    const hex = layers[1]?.digest.slice(7) ?? '';
    const blob = join(
      registry.directory,
      'data/docker/registry/v2/blobs/sha256',
      hex.slice(0, 2),
      hex,
      'data',
    );
    const bytes = await readFile(blob);
    bytes[1000] = 0x79;
    await writeFile(blob, bytes);
    await assert.rejects(pull(node, `${registry.host}/app:v1`), {
      kind: 'data-loss',
      message: new RegExp(hex),
    });
    assert.deepEqual(await readdir(join(node.directory, 'snapshots')), []);
    assert.deepEqual(node.images.store.list(), []);
  },
);

test('a full disk is an error that says so, leaves nothing, and passes', { skip }, async () => {
  await using registry = await startDockerRegistry();
  await using node = await openNode(8 * 1024 ** 2);
  const layer = await buildLayer([{ name: 'big', content: Buffer.alloc(12 * 1024 ** 2, 'x') }]);
  await pushImage(
    { registryUrl: registry.url, repository: 'app', tag: 'big' },
    buildImage({ layers: [layer] }),
  );
  const small = buildImage({ layers: [await buildLayer([{ name: 'small', content: 'x' }])] });
  await pushImage({ registryUrl: registry.url, repository: 'app', tag: 'small' }, small);
  await assert.rejects(pull(node, `${registry.host}/app:big`), {
    kind: 'resource-exhausted',
    message: /ENOSPC|no space/i,
  });
  assert.deepEqual(await readdir(join(node.directory, 'snapshots')), []);
  assert.equal((await pull(node, `${registry.host}/app:small`)).id, small.config.digest);
});
