import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EngineError, type ErrorKind } from '../lib/errors.ts';
import { dockerConfig, ociIndex, ociManifest } from './media-types.ts';
import { pullImage, type PullRequest } from './pull.ts';
import {
  type BuiltImage,
  buildImage,
  buildLayer,
  builtBlob,
  descriptor,
  jsonBlob,
  layerOfTar,
} from './testing/build-image.ts';
import { openTestImages, type TestImages } from './testing/open-test-images.ts';
import { sendError } from './testing/registry.ts';

const never = new AbortController().signal;

function pull(context: TestImages, reference: string, request: Partial<PullRequest> = {}): Promise<unknown> {
  return pullImage(context.images, { ...request, reference }, never);
}

async function image(content = 'x'.repeat(100_000)): Promise<BuiltImage> {
  return buildImage({ layers: [await buildLayer([{ name: 'file', content }], 'none')] });
}

async function assertRefused(
  context: TestImages,
  reference: string,
  expected: { readonly kind: ErrorKind; readonly message: RegExp },
): Promise<void> {
  await assert.rejects(pull(context, reference), (error) => {
    assert.ok(error instanceof EngineError, String(error));
    assert.match(error.message, expected.message);
    assert.equal(error.kind, expected.kind, error.message);
    return true;
  });
  assert.deepEqual(context.layers.list(), [], 'no layer stays');
  assert.deepEqual(context.images.store.list(), [], 'no image stays');
  assert.deepEqual(context.images.content.digests(), [], 'no blob stays');
}

describe('a registry that lies', () => {
  test('about a layer: other bytes, fewer, more', async () => {
    await using context = await openTestImages();
    const built = await image();
    const reference = context.registry.serve('app', 'v1', built);
    const [layer] = built.layers;
    assert.ok(layer);
    const other = Buffer.from(layer.bytes);
    other[600] = 1;
    context.registry.serveBlob({ digest: layer.digest, bytes: other });
    await assertRefused(context, reference, {
      kind: 'data-loss',
      message: /digest mismatch: expected sha256:\w+, got sha256:/,
    });
    context.registry.serveBlob({ digest: layer.digest, bytes: layer.bytes.subarray(10) });
    await assertRefused(context, reference, { kind: 'data-loss', message: /size mismatch/ });
    context.registry.serveBlob({
      digest: layer.digest,
      bytes: Buffer.concat([layer.bytes, Buffer.alloc(9)]),
    });
    await assertRefused(context, reference, { kind: 'data-loss', message: /size mismatch/ });
  });

  test('about a layer of unannounced length: endless, and cut short', async () => {
    await using context = await openTestImages();
    const built = await image();
    const reference = context.registry.serve('app', 'v1', built);
    const layer = built.layers[0]?.bytes ?? Buffer.alloc(0);
    {
      using _ = context.registry.misbehave((request, response) => {
        if (!request.url.includes(built.layers[0]?.digest ?? '')) return false;
        response.writeHead(200);
        const more = (): void => {
          while (!response.destroyed && response.write(layer));
        };
        response.on('drain', more);
        more();
        return true;
      });
      await assertRefused(context, reference, { kind: 'data-loss', message: /more than the \d+ bytes/ });
    }
    using _ = context.registry.misbehave((request, response) => {
      if (!request.url.includes(built.layers[0]?.digest ?? '')) return false;
      response.writeHead(request.headers.range === undefined ? 200 : 206, {
        'content-range': `bytes ${/\d+/.exec(request.headers.range ?? '0')?.[0]}-`,
      });
      response.end();
      return true;
    });
    await assertRefused(context, reference, { kind: 'data-loss', message: /it ends after 0 of/ });
  });

  test('about a manifest: its digest, its type, its size, its nature', async () => {
    await using context = await openTestImages();
    const built = await image();
    const reference = context.registry.serve('app', 'v1', built);
    const wrong = `sha256:${'0'.repeat(64)}`;
    {
      using _ = context.registry.misbehave((request, response) => {
        if (!request.url.includes('/manifests/')) return false;
        response.writeHead(200, { 'content-type': ociManifest, 'docker-content-digest': wrong });
        response.end(built.manifest.bytes);
        return true;
      });
      await assertRefused(context, reference, { kind: 'data-loss', message: /digest mismatch/ });
      const byDigest = `${context.registry.host}/app@${wrong}`;
      await assertRefused(context, byDigest, { kind: 'data-loss', message: /digest mismatch/ });
    }
    {
      using _ = context.registry.misbehave((request, response) => {
        if (!request.url.includes('/manifests/')) return false;
        response.writeHead(200, { 'content-type': ociIndex });
        response.end(built.manifest.bytes);
        return true;
      });
      await assertRefused(context, reference, { kind: 'data-loss', message: /says of itself/ });
    }
    using _ = context.registry.misbehave((request, response) => {
      if (!request.url.includes('/manifests/')) return false;
      response.writeHead(200, { 'content-type': ociManifest });
      const more = (): void => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
      };
      response.on('drain', more);
      more();
      return true;
    });
    await assertRefused(context, reference, { kind: 'data-loss', message: /larger than 4194304 bytes/ });
  });

  test('about a config: not JSON, another number of layers, another DiffID, another size', async () => {
    await using context = await openTestImages();
    const built = await image();
    const serve = (config: ReturnType<typeof jsonBlob>, size = config.bytes.length): string => {
      context.registry.serveBlob(config);
      const manifest = jsonBlob(ociManifest, {
        schemaVersion: 2,
        config: { ...descriptor(config), size },
        layers: built.layers.map(descriptor),
      });
      return context.registry.serveManifest('app', 'v2', manifest);
    };
    context.registry.serve('app', 'v1', built);
    const file = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch };
    const garbage = builtBlob(dockerConfig, Buffer.from('<html>'));
    await assertRefused(context, serve(garbage), {
      kind: 'data-loss',
      message: /config sha256:\w+ of .*not JSON/,
    });
    const none = jsonBlob(dockerConfig, { ...file, rootfs: { type: 'layers', diff_ids: [] } });
    await assertRefused(context, serve(none), { kind: 'data-loss', message: /1 layers, its config 0/ });
    const wrong = `sha256:${'1'.repeat(64)}`;
    const other = jsonBlob(dockerConfig, { ...file, rootfs: { type: 'layers', diff_ids: [wrong] } });
    await assertRefused(context, serve(other), { kind: 'data-loss', message: /DiffID/ });
    await assertRefused(context, serve(other, 3), { kind: 'data-loss', message: /the manifest says 3/ });
  });

  test('about the entries of an index: size, type, nesting, absence', async () => {
    await using context = await openTestImages();
    const built = await image();
    context.registry.serve('app', 'v1', built);
    const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch };
    const serve = (entry: object): string => {
      const value = { schemaVersion: 2, mediaType: ociIndex, manifests: [{ ...entry, platform }] };
      return context.registry.serveManifest('app', 'v3', jsonBlob(ociIndex, value));
    };
    const entry = descriptor(built.manifest);
    await assertRefused(context, serve({ ...entry, size: 1 }), {
      kind: 'data-loss',
      message: /the index says 1/,
    });
    const typed = serve({ ...entry, mediaType: ociIndex });
    await assertRefused(context, typed, { kind: 'data-loss', message: /the index calls/ });
    const inner = jsonBlob(ociIndex, {
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: [{ ...entry, platform }],
    });
    context.registry.serveManifest('app', 'inner', inner);
    const nested = serve(descriptor(inner));
    await assertRefused(context, nested, { kind: 'data-loss', message: /index that points at an index/ });
    const gone = serve({ ...entry, digest: `sha256:${'2'.repeat(64)}` });
    await assertRefused(context, gone, { kind: 'not-found', message: /@sha256:2+ not found/ });
  });

  test('a layer that is no layer is refused before it is fetched', async () => {
    await using context = await openTestImages();
    const layer = { ...layerOfTar(Buffer.alloc(1024)), mediaType: 'text/html' };
    const reference = context.registry.serve('app', 'v1', buildImage({ layers: [layer] }));
    await assertRefused(context, reference, { kind: 'unimplemented', message: /text\/html/ });
    assert.equal(context.registry.count('/blobs/'), 0);
  });
});

describe('a registry that fails', () => {
  test('a connection cut in the middle is resumed where it broke', async () => {
    await using context = await openTestImages();
    const built = await image();
    const reference = context.registry.serve('app', 'v1', built);
    const layer = built.layers[0];
    assert.ok(layer);
    let cuts = 0;
    using _ = context.registry.misbehave((request, response) => {
      if (!request.url.includes(layer.digest) || cuts === 4) return false;
      cuts += 1;
      const start = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
      response.writeHead(start === 0 ? 200 : 206, {
        'content-length': layer.bytes.length - start,
        'content-range': `bytes ${start}-${layer.bytes.length - 1}/${layer.bytes.length}`,
      });
      response.write(layer.bytes.subarray(start, start + 20_000), () => response.destroy());
      return true;
    });
    await pull(context, reference);
    assert.equal(cuts, 4);
    const ranges = context.registry.requests.map((request) => request.headers.range).filter(Boolean);
    assert.deepEqual(ranges, ['bytes=20000-', 'bytes=40000-', 'bytes=60000-', 'bytes=80000-']);
  });

  test('a server without ranges sends it all again, and what is known is skipped', async () => {
    await using context = await openTestImages();
    const built = await image();
    const reference = context.registry.serve('app', 'v1', built);
    const layer = built.layers[0];
    assert.ok(layer);
    let cut = false;
    using _ = context.registry.misbehave((request, response) => {
      if (!request.url.includes(layer.digest)) return false;
      response.writeHead(200, { 'content-length': layer.bytes.length });
      if (cut) response.end(layer.bytes);
      else response.write(layer.bytes.subarray(0, 30_000), () => response.destroy());
      cut = true;
      return true;
    });
    await pull(context, reference);
    assert.equal(context.registry.count(layer.digest), 2);
  });

  test('cri-dockerd#91: silence in the middle ends the pull by its own deadline, however long the whole may take', async () => {
    await using context = await openTestImages();
    const built = await image();
    const reference = context.registry.serve('app', 'v1', built);
    using _ = context.registry.misbehave((request, response) => {
      const layer = built.layers[0];
      if (layer === undefined || !request.url.includes(layer.digest)) return false;
      response.writeHead(200, { 'content-length': layer.bytes.length });
      response.write(layer.bytes.subarray(0, 5000));
      return true;
    });
    await assertRefused(context, reference, {
      kind: 'deadline-exceeded',
      message: /no byte arrived for 300 ms/,
    });
  });

  test('429 and 503 are waited for, a bounded number of times', async () => {
    await using context = await openTestImages();
    const reference = context.registry.serve('app', 'v1', await image());
    const statuses = [429, 503];
    {
      using _ = context.registry.misbehave((request, response) => {
        const status = request.url.includes('/manifests/') ? statuses.shift() : undefined;
        if (status === undefined) return false;
        sendError(response, status, 'TOOMANYREQUESTS', { 'retry-after': '0' });
        return true;
      });
      await pull(context, reference);
      assert.equal(context.registry.count('/manifests/'), 3);
    }
    using _ = context.registry.misbehave((_request, response) => {
      sendError(response, 429, 'TOOMANYREQUESTS', { 'retry-after': '3600' });
      return true;
    });
    const before = context.registry.requests.length;
    await assert.rejects(pull(context, reference), /limits the rate/);
    assert.equal(context.registry.requests.length - before, 1, 'an hour is not waited for');
  });

  test('unknown images and unreachable registries are told apart, by name', async () => {
    await using context = await openTestImages();
    const missing = `${context.registry.host}/nothing:v1`;
    await assertRefused(context, missing, {
      kind: 'not-found',
      message: new RegExp(`manifest of ${missing} not found.*MANIFEST_UNKNOWN`),
    });
    await assertRefused(context, '127.0.0.1:1/app:v1', { kind: 'unavailable', message: /ECONNREFUSED/ });
    await assertRefused(context, 'Not Valid', { kind: 'invalid-argument', message: /"Not Valid"/ });
  });

  test('a full disk is told as such', async () => {
    await using context = await openTestImages();
    const reference = context.registry.serve('app', 'v1', await image());
    context.layers.beforeCommit = () =>
      Promise.reject(Object.assign(new Error('write: no space left on device'), { code: 'ENOSPC' }));
    await assertRefused(context, reference, { kind: 'resource-exhausted', message: /no space left/ });
  });
});
