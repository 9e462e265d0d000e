/** Pulls from Debian's docker-registry into real layer directories. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { imageFsInfo } from '../../src/images/image-fs-info.ts';
import { recoverImages } from '../../src/images/garbage-collection.ts';
import { pullImage } from '../../src/images/pull.ts';
import type { RegistryAuth } from '../../src/images/registry/credentials.ts';
import { removeImage } from '../../src/images/remove.ts';
import { TestRegistry } from '../../src/images/testing/registry.ts';
import { resolveImage } from '../../src/images/store.ts';
import { buildImage, buildLayer, pushImage, pushIndex } from '../../src/images/testing/build-image.ts';
import { mountTmpfs, unmount } from '../../src/linux/mount.ts';
import { missingDockerRegistry, startDockerRegistry } from '../fixtures/docker-registry.ts';
import { type ImageNode, layerPath, openImageNode } from '../fixtures/image-node.ts';

const never = new AbortController().signal;
const skip = (await missingDockerRegistry()) ?? (process.getuid?.() === 0 ? false : 'needs root');

/** A node on a temporary directory. `diskBytes` makes that a file system of its own of that size. */
async function openNode(diskBytes?: number): Promise<ImageNode> {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'gantry-node-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  if (diskBytes !== undefined) {
    mountTmpfs({ target: directory, sizeBytes: diskBytes });
    stack.defer(() => void unmount(directory));
  }
  const node = stack.use(await openImageNode(directory));
  const owned = stack.move();
  return { ...node, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function pull(node: ImageNode, reference: string, auth?: RegistryAuth): ReturnType<typeof pullImage> {
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

test(
  'a daemon killed in the middle of a pull: what was complete stays, the rest is swept, the retry works',
  { skip },
  async () => {
    await using registry = await TestRegistry.start();
    await using stack = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'gantry-node-'));
    stack.defer(() => rm(directory, { recursive: true, force: true }));
    const script = new URL('../fixtures/pull-image.ts', import.meta.url).pathname;
    const start = (reference: string) =>
      spawn(process.execPath, [script, directory, reference], { stdio: 'inherit' });
    const before = registry.serve(
      'before',
      'v1',
      buildImage({ layers: [await buildLayer([{ name: 'a', content: 'a' }])] }),
    );
    const whole = start(before);
    assert.equal(await new Promise((resolve) => whole.once('exit', resolve)), 0);

    const layers = await Promise.all([
      buildLayer([{ name: 'quick', content: 'q' }]),
      buildLayer([{ name: 'slow', content: Buffer.alloc(500_000, 's') }], 'none'),
    ]);
    const built = buildImage({ layers });
    const reference = registry.serve('app', 'v1', built);
    {
      using _ = registry.misbehave((request, response) => {
        if (!request.url.includes(layers[1]?.digest ?? '')) return false;
        response.writeHead(200);
        response.write(layers[1]?.bytes.subarray(0, 300_000));
        return true;
      });
      const killed = start(reference);
      const snapshots = join(directory, 'snapshots');
      while (!(await readdir(snapshots)).includes(layers[0]?.diffId.slice(7) ?? '')) await sleep(10);
      killed.kill('SIGKILL');
      await new Promise((resolve) => killed.once('exit', resolve));
    }
    await using node = await openImageNode(directory);
    const { dropped, collected } = await recoverImages(node.images);
    assert.deepEqual(dropped, []);
    assert.deepEqual(collected.layers, [layers[0]?.diffId]);
    assert.deepEqual(
      node.images.store.list().map((image) => image.repoTags),
      [[before]],
    );
    assert.equal((await readdir(join(directory, 'snapshots'))).length, 1);
    assert.deepEqual(await readdir(join(directory, 'images/ingest')), []);
    assert.equal((await pull(node, reference)).id, built.config.digest);
  },
);
