import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ImageId } from '../lib/ids.ts';
import { checkpointTest } from './checkpoint-annotation.ts';
import { ociIndex } from './media-types.ts';
import { pullImage } from './pull.ts';
import { buildImage, buildLayer, type BuiltImage, descriptor, jsonBlob } from './testing/build-image.ts';
import { openTestImages, type TestImages } from './testing/open-test-images.ts';

const never = new AbortController().signal;
const ofCheckpointctl = 'org.criu.checkpoint.container.name';
const ofCriO = 'io.kubernetes.cri-o.annotations.checkpoint.name';

async function built(more: Partial<Parameters<typeof buildImage>[0]> = {}): Promise<BuiltImage> {
  return buildImage({ layers: [await buildLayer([{ name: 'config.dump', content: '{}' }])], ...more });
}

async function isOne(context: TestImages, reference: string): Promise<boolean> {
  const { id } = await pullImage(context.images, { reference }, never);
  return await checkpointTest(context.images)(id);
}

for (const name of [ofCheckpointctl, ofCriO])
  test(`a manifest with ${name} makes a checkpoint, even with an empty value`, async () => {
    await using context = await openTestImages();
    const image = await built({ annotations: { [name]: '' } });
    assert.equal(await isOne(context, context.registry.serve('saved', 'v1', image)), true);
  });

test('so does an index that says it of all its manifests', async () => {
  await using context = await openTestImages();
  const image = await built();
  context.registry.serve('saved', 'amd64', image);
  const index = jsonBlob(ociIndex, {
    schemaVersion: 2,
    mediaType: ociIndex,
    manifests: [{ ...descriptor(image.manifest), platform: image.platform }],
    annotations: { [ofCheckpointctl]: 'counter' },
  });
  assert.equal(await isOne(context, context.registry.serveManifest('saved', 'v1', index)), true);
});

test('other images are none, whatever lies in their layers, labels or annotations', async () => {
  await using context = await openTestImages();
  const others = [
    {},
    { annotations: { 'org.opencontainers.image.title': ofCheckpointctl } },
    { config: { Labels: { [ofCheckpointctl]: 'counter' } } },
    { annotations: { [`${ofCheckpointctl}.more`]: 'x', [ofCriO.toUpperCase()]: 'x' } },
  ];
  for (const [index, more] of others.entries()) {
    const reference = context.registry.serve(`other-${index}`, 'v1', await built(more));
    assert.equal(await isOne(context, reference), false, JSON.stringify(more));
  }
});

test('an image that is not there, or whose manifest the disk has damaged, is none', async () => {
  await using context = await openTestImages();
  const image = await built({ annotations: { [ofCheckpointctl]: 'counter' } });
  const reference = context.registry.serve('saved', 'v1', image);
  const { id } = await pullImage(context.images, { reference }, never);
  const hex = image.manifest.digest.slice('sha256:'.length);
  writeFileSync(join(context.images.root, 'blobs/sha256', hex), '{"annotations":{}}');
  assert.equal(await checkpointTest(context.images)(id), false);
  const unknown = image.config.digest.replaceAll(/[0-9a-f]/g, '0') as typeof id;
  assert.equal(await checkpointTest(context.images)(unknown), false);
});

test('what was read is remembered, and a second manifest of the same image is read all the same', async (t) => {
  await using context = await openTestImages();
  const { images, registry } = context;
  const test = checkpointTest(images);
  const read = t.mock.method(images.content, 'read');
  const pull = async (tag: string, image: BuiltImage): Promise<ImageId> =>
    (await pullImage(images, { reference: registry.serve('same', tag, image) }, never)).id;
  const id = await pull('plain', await built());
  assert.equal(await test(id), false);
  const before = read.mock.callCount();
  assert.equal(await test(id), false);
  assert.equal(read.mock.callCount(), before);
  // The id is that of the configuration, which both have.
  assert.equal(await pull('saved', await built({ annotations: { [ofCheckpointctl]: 'counter' } })), id);
  assert.equal(await test(id), true);
});
