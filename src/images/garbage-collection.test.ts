import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { collectGarbage, recoverImages } from './garbage-collection.ts';
import { listImages } from './list.ts';
import { pullImage } from './pull.ts';
import { removeImage } from './remove.ts';
import { buildImage, buildLayer } from './testing/build-image.ts';
import { openTestImages, type TestImages } from './testing/open-test-images.ts';

const never = new AbortController().signal;

async function twoImages(context: TestImages): Promise<readonly [string, string]> {
  const base = await buildLayer([{ name: 'base', content: 'base' }]);
  const [one, two] = await Promise.all(
    ['one', 'two'].map(async (name) =>
      context.registry.serve(
        name,
        'v1',
        buildImage({ layers: [base, await buildLayer([{ name, content: name }])], config: { Cmd: [name] } }),
      ),
    ),
  );
  for (const reference of [one, two]) await pullImage(context.images, { reference: reference ?? '' }, never);
  return [one ?? '', two ?? ''];
}

describe('removeImage', () => {
  test('takes all names of the id and what it alone needed; twice does no harm', async () => {
    await using context = await openTestImages();
    const [one, two] = await twoImages(context);
    assert.equal(context.layers.list().length, 3);
    const removed = await removeImage(context.images, one);
    assert.deepEqual(removed?.repoTags, [one]);
    assert.equal(context.layers.list().length, 2);
    assert.equal(context.images.content.digests().length, 2);
    assert.equal(await removeImage(context.images, one), undefined);
    assert.equal(await removeImage(context.images, 'Not Valid'), undefined);
    assert.equal(listImages(context.images.store, two).length, 1);
    assert.deepEqual(listImages(context.images.store, one), []);
    const [left] = listImages(context.images.store, undefined);
    await removeImage(context.images, left?.id.slice(7, 20) ?? '');
    assert.deepEqual(context.layers.list(), []);
    assert.deepEqual(context.images.content.digests(), []);
  });

  test('one tag removes the tags in other repositories too', async () => {
    await using context = await openTestImages();
    const built = buildImage({ layers: [await buildLayer([{ name: 'a' }])] });
    const references = ['x', 'y'].map((repository) => context.registry.serve(repository, 'v1', built));
    for (const reference of references) await pullImage(context.images, { reference }, never);
    await removeImage(context.images, references[0] ?? '');
    assert.deepEqual(context.images.store.list(), []);
  });

  test('containers keep the layers they stand on, and a pull finds them again', async () => {
    await using context = await openTestImages();
    const [one] = await twoImages(context);
    const [image] = listImages(context.images.store, one);
    for (const { chainId } of image?.layers ?? []) context.layers.inUse.add(chainId);
    await removeImage(context.images, one);
    assert.equal(context.layers.list().length, 3);
    const before = context.layers.unpacked.length;
    await pullImage(context.images, { reference: one }, never);
    assert.equal(context.layers.unpacked.length, before);
    await removeImage(context.images, one);
    context.layers.inUse.clear();
    assert.equal((await collectGarbage(context.images)).layers.length, 1);
  });
});

describe('collectGarbage', () => {
  test('never takes what a running pull needs', async () => {
    await using context = await openTestImages();
    const layers = await Promise.all(['a', 'b'].map((name) => buildLayer([{ name, content: name }])));
    const reference = context.registry.serve('app', 'v1', buildImage({ layers }));
    const collections: Promise<unknown>[] = [];
    context.layers.beforeCommit = () => {
      collections.push(collectGarbage(context.images));
      return Promise.resolve();
    };
    let pulled = false;
    const collecting = (async () => {
      while (!pulled) {
        await collectGarbage(context.images);
        await setImmediate();
      }
    })();
    const image = await pullImage(context.images, { reference }, never);
    pulled = true;
    await Promise.all([...collections, collecting]);
    for (const { chainId } of image.layers) assert.ok(context.images.layers.get(chainId));
    assert.ok(context.images.store.blobsOf(image.id).every((digest) => context.images.content.has(digest)));
  });

  test('removals and pulls of the same image in any order end consistent', async () => {
    await using context = await openTestImages();
    const [one] = await twoImages(context);
    for (let round = 0; round < 20; round += 1) {
      await Promise.all([
        pullImage(context.images, { reference: one }, never),
        removeImage(context.images, one),
        collectGarbage(context.images),
      ]);
      for (const image of context.images.store.list()) {
        for (const { chainId } of image.layers)
          assert.ok(context.images.layers.get(chainId), `round ${round}`);
        for (const digest of context.images.store.blobsOf(image.id))
          assert.ok(context.images.content.has(digest));
      }
    }
  });

  test('what cannot be removed is told and tried again, the rest goes', async () => {
    await using context = await openTestImages();
    await twoImages(context);
    for (const image of context.images.store.list()) context.images.store.remove(image.id);
    const collect = context.layers.collect.bind(context.layers);
    const [gone] = context.layers.list();
    context.layers.collect = () => {
      context.layers.lose(gone?.chainId ?? assert.fail());
      throw new Error('busy');
    };
    const first = await collectGarbage(context.images);
    assert.deepEqual([first.failures, first.layers, first.blobs.length], [['remove layers: busy'], [], 4]);
    assert.equal(context.images.layers.list().length, 2, 'the index follows the disk');
    context.layers.collect = collect;
    assert.equal((await collectGarbage(context.images)).layers.length, 2);
  });
});

describe('recoverImages', () => {
  test('keeps what is whole, drops what lost a layer or a blob, clears what nobody names', async () => {
    await using context = await openTestImages();
    const [one, two] = await twoImages(context);
    const lost = listImages(context.images.store, one)[0]?.layers[1]?.chainId;
    assert.ok(lost);
    context.layers.lose(lost);
    const images = await context.reopen();
    const { dropped } = await recoverImages(images);
    assert.deepEqual(
      dropped.map(({ names, reason }) => [names[0], reason]),
      [[one, `layer ${lost} is missing`]],
    );
    assert.deepEqual(listImages(images.store, two)[0]?.repoTags, [two]);
    assert.equal(context.layers.list().length, 2);
    const blob = images.content.digests()[0];
    assert.ok(blob);
    await images.content.removeUnless(blob, () => false);
    const again = await recoverImages(await context.reopen());
    assert.match(again.dropped[0]?.reason ?? '', /^blob sha256:\w+ is missing$/);
    assert.deepEqual(context.layers.list(), []);
  });
});
