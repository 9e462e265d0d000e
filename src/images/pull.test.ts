import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { EngineError, type ErrorKind } from '../lib/errors.ts';
import { chainIdsOf } from './chain-id.ts';
import { imageFsInfo } from './image-fs-info.ts';
import { imageDetails, listImages } from './list.ts';
import type { LayerProgress } from './pull-layers.ts';
import { pullImage, type PullRequest } from './pull.ts';
import { type BuiltImage, buildImage, buildIndex, buildLayer } from './testing/build-image.ts';
import { openTestImages, type TestImages } from './testing/open-test-images.ts';
import { sendError } from './testing/registry.ts';

const never = new AbortController().signal;

async function smallImage(label = 'a', layerCount = 2): Promise<BuiltImage> {
  const compressions = ['gzip', 'zstd', 'none'] as const;
  const layers = await Promise.all(
    Array.from({ length: layerCount }, (_, position) =>
      buildLayer([{ name: `${label}-${position}`, content: label.repeat(2000) }], compressions[position % 3]),
    ),
  );
  return buildImage({ layers, config: { Cmd: ['/bin/sh'], Env: [`LABEL=${label}`] } });
}

function pull(context: TestImages, request: PullRequest | string): ReturnType<typeof pullImage> {
  return pullImage(context.images, typeof request === 'string' ? { reference: request } : request, never);
}

function rejected(kind: ErrorKind, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof EngineError, String(error));
    assert.match(error.message, message);
    assert.equal(error.kind, kind);
    return true;
  };
}

async function assertNothingStored(context: TestImages): Promise<void> {
  assert.deepEqual(context.layers.list(), []);
  assert.deepEqual(context.images.store.list(), []);
  assert.deepEqual(context.images.content.digests(), []);
  assert.deepEqual(await readdir(join(context.images.root, 'ingest')), []);
  assert.deepEqual(await readdir(join(context.images.root, 'blobs', 'sha256')), []);
}

describe('pullImage', () => {
  test('brings config, layers of every compression, names and sizes', async () => {
    await using context = await openTestImages();
    const built = await smallImage('a', 3);
    const reference = context.registry.serve('app', 'v1', built);
    const seen: LayerProgress[] = [];
    const image = await pull(context, { reference, onProgress: (progress) => seen.push(progress) });
    assert.equal(image.id, built.config.digest);
    assert.deepEqual(image.repoTags, [reference]);
    assert.deepEqual(image.repoDigests, [`${context.registry.host}/app@${built.manifest.digest}`]);
    assert.deepEqual(image.config.cmd, ['/bin/sh']);
    assert.deepEqual(
      image.layers.map((layer) => layer.chainId),
      chainIdsOf(built.layers.map((layer) => layer.diffId)),
    );
    assert.ok(image.sizeBytes > 6000, String(image.sizeBytes));
    assert.equal(seen.filter((progress) => progress.state === 'complete').length, 3);
    assert.ok(imageFsInfo(context.images).usedBytes >= image.sizeBytes);
    assert.deepEqual(listImages(context.images.store, image.id), [image]);
    const details = await imageDetails(context.images.content, image);
    assert.equal(details.chainID, image.layers.at(-1)?.chainId);
    assert.ok(typeof details.imageSpec === 'object');
  });

  test('a second pull downloads nothing again; by digest it names no tag', async () => {
    await using context = await openTestImages();
    const built = await smallImage();
    const reference = context.registry.serve('app', 'v1', built);
    await pull(context, reference);
    const blobs = context.registry.count('/blobs/');
    await pull(context, reference);
    await pull(context, `${context.registry.host}/other@${built.manifest.digest}`).catch(() => undefined);
    const byDigest = await pull(context, `${context.registry.host}/app:v9@${built.manifest.digest}`);
    assert.equal(context.registry.count('/blobs/'), blobs);
    assert.deepEqual(byDigest.repoTags, [reference]);
  });

  test('an index gives the image of the platform and keeps its own digest', async () => {
    await using context = await openTestImages();
    const [amd, arm] = await Promise.all([smallImage('x'), smallImage('y')]);
    const images = [
      buildImage({ layers: amd.layers, platform: { os: 'linux', architecture: 'amd64' } }),
      buildImage({ layers: arm.layers, platform: { os: 'linux', architecture: 'arm64' } }),
    ];
    const index = buildIndex(images);
    for (const image of images) context.registry.serve('multi', image.manifest.digest, image);
    const reference = context.registry.serveManifest('multi', 'latest', index);
    const pulled = await pull(context, { reference, platform: { os: 'linux', architecture: 'arm64' } });
    assert.equal(pulled.id, images[1]?.config.digest);
    assert.deepEqual(pulled.repoDigests, [`${context.registry.host}/multi@${index.digest}`]);
    const before = context.registry.requests.length;
    await pull(context, { reference, platform: { os: 'linux', architecture: 'arm64' } });
    assert.equal(context.registry.requests.length - before, 1, 'what is known costs one request');
    await assert.rejects(
      pull(context, { reference, platform: { os: 'linux', architecture: 's390x' } }),
      rejected('not-found', /linux\/s390x \(it has linux\/amd64, linux\/arm64\)/),
    );
  });

  test('a tag that moves leaves the old image with its digest', async () => {
    await using context = await openTestImages();
    const [first, second] = [await smallImage('1'), await smallImage('2')];
    const reference = context.registry.serve('app', 'v1', first);
    const old = await pull(context, reference);
    context.registry.serve('app', 'v1', second);
    const fresh = await pull(context, reference);
    assert.deepEqual(fresh.repoTags, [reference]);
    assert.deepEqual(context.images.store.get(old.id)?.repoTags, []);
    assert.deepEqual(context.images.store.get(old.id)?.repoDigests, old.repoDigests);
  });

  test('one image from two registries is one image (image ids agree)', async () => {
    await using context = await openTestImages();
    const built = await smallImage();
    const one = await pull(context, context.registry.serve('one', 'v1', built));
    const two = await pull(context, context.registry.serve('two', 'v1', built));
    assert.equal(one.id, two.id);
    assert.equal(two.repoTags.length, 2);
    assert.equal(two.repoDigests.length, 2);
    assert.equal(context.layers.unpacked.length, 2);
  });

  test('containerd#4937: many pulls of one image do the work once, and one that leaves fails no other', async () => {
    await using context = await openTestImages();
    const built = await smallImage();
    const reference = context.registry.serve('app', 'v1', built);
    const leaver = new AbortController();
    context.layers.beforeCommit = () => {
      leaver.abort();
      return Promise.resolve();
    };
    const gone = pullImage(context.images, { reference }, leaver.signal);
    const others = Array.from({ length: 9 }, () => pull(context, reference));
    await assert.rejects(gone, { name: 'AbortError' });
    const ids = new Set((await Promise.all(others)).map((image) => image.id));
    assert.equal(ids.size, 1);
    assert.equal(context.layers.unpacked.length, 2);
    assert.equal(context.registry.count('/manifests/'), 1);
  });

  test('containerd#2886, containerd#4819, moby#21814: layers are fetched all at once, none waits for another to be whole', async () => {
    await using context = await openTestImages();
    const built = await smallImage('together', 3);
    const reference = context.registry.serve('app', 'v1', built);
    const waiting: (() => void)[] = [];
    using _ = context.registry.misbehave((request, response) => {
      const layer = built.layers.find(({ digest }) => request.url.includes(digest));
      if (layer === undefined) return false;
      const { bytes } = layer;
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 10));
      // The rest comes when the registry has been asked for every one.
      waiting.push(() => response.end(bytes.subarray(10)));
      if (waiting.length === built.layers.length) for (const send of waiting) send();
      return true;
    });
    const { layers } = await pull(context, reference);
    assert.equal(layers.length, 3);
  });

  test('containerd#5675: two images that share a layer unpack it once, also when the first of them is given up', async () => {
    await using context = await openTestImages();
    const base = await buildLayer([{ name: 'base', content: 'base' }]);
    const tops = await Promise.all(['a', 'b'].map((name) => buildLayer([{ name, content: name }])));
    const references = tops.map((top, position) =>
      context.registry.serve(`app${position}`, 'v1', buildImage({ layers: [base, top] })),
    );
    const leaver = new AbortController();
    const bothWait = Promise.withResolvers<void>();
    context.layers.beforeCommit = async (chainId) => {
      if (chainId === base.diffId) await bothWait.promise;
    };
    const gone = pullImage(context.images, { reference: references[0] ?? '' }, leaver.signal);
    const stays = pull(context, references[1] ?? '');
    while (context.layers.unpacked.length < 3) await setImmediate();
    leaver.abort();
    await assert.rejects(gone, { name: 'AbortError' });
    bothWait.resolve();
    const image = await stays;
    assert.equal(context.layers.unpacked.filter((chainId) => chainId === base.diffId).length, 1);
    assert.equal(image.layers.length, 2);
  });

  test('a shared layer that another pull could not have is tried again with our own credentials', async () => {
    await using context = await openTestImages();
    const built = await smallImage('s', 1);
    const reference = context.registry.serve('app', 'v1', built);
    const layer = built.layers[0]?.digest ?? '';
    const bothWait = Promise.withResolvers<void>();
    let asked = 0;
    using _ = context.registry.misbehave((request, response) => {
      if (!request.url.includes(layer) || request.headers.authorization === 'Bearer good') return false;
      asked += 1;
      void bothWait.promise.then(() => sendError(response, 403, 'DENIED'));
      return true;
    });
    const poor = pull(context, { reference, auth: { registryToken: 'bad' } });
    while (asked === 0) await setImmediate();
    const rich = pull(context, { reference, auth: { registryToken: 'good' } });
    while (context.registry.count(built.config.digest) < 2) await setImmediate();
    for (let turns = 0; turns < 50; turns += 1) await setImmediate();
    bothWait.resolve();
    await assert.rejects(poor, rejected('permission-denied', /pull access denied: layer/));
    assert.equal((await rich).id, built.config.digest);
  });

  test('an image of many layers is pulled without a warning', async () => {
    await using context = await openTestImages();
    const warnings: Error[] = [];
    const onWarning = (warning: Error): number => warnings.push(warning);
    process.on('warning', onWarning);
    const image = await pull(context, context.registry.serve('many', 'v1', await smallImage('m', 120)));
    await setImmediate();
    process.off('warning', onWarning);
    assert.equal(image.layers.length, 120);
    assert.deepEqual(warnings, []);
  });

  test('a pull that everyone left is undone', async () => {
    await using context = await openTestImages();
    const reference = context.registry.serve('app', 'v1', await smallImage());
    const leaver = new AbortController();
    context.layers.beforeCommit = () => {
      leaver.abort();
      return Promise.resolve();
    };
    await assert.rejects(pullImage(context.images, { reference }, leaver.signal), { name: 'AbortError' });
    context.layers.beforeCommit = () => Promise.resolve();
    // The work ends in the background; another pull of other layers waits for nothing of it.
    await pull(context, context.registry.serve('other', 'v1', await smallImage('z', 1)));
    assert.equal(context.images.store.list().length, 1);
  });

  test('a foreign architecture is refused by name', async () => {
    await using context = await openTestImages();
    const { layers } = await smallImage();
    const image = buildImage({ layers, platform: { os: 'linux', architecture: 's390x' } });
    const reference = context.registry.serve('app', 'v1', image);
    await assert.rejects(
      pull(context, { reference, platform: { os: 'linux', architecture: 'amd64' } }),
      rejected('not-found', /it is for linux\/s390x/),
    );
    await assertNothingStored(context);
  });
});
