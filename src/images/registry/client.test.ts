import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pullImage, type PullRequest } from '../pull.ts';
import { type BuiltImage, buildImage, buildLayer, descriptor, jsonBlob } from '../testing/build-image.ts';
import { openTestImages, type TestImages } from '../testing/open-test-images.ts';
import { TestRegistry } from '../testing/registry.ts';

async function app(): Promise<BuiltImage> {
  return buildImage({ layers: [await buildLayer([{ name: 'f', content: 'f' }])] });
}

function pull(context: TestImages, reference: string, auth?: PullRequest['auth']): Promise<unknown> {
  return pullImage(context.images, { reference, auth }, new AbortController().signal);
}

async function configure(context: TestImages, domain: string, toml: string): Promise<void> {
  const directory = join(context.directory, 'certs.d', domain);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'hosts.toml'), toml);
}

describe('redirects', () => {
  test('to another origin: no credentials, no headers of hosts.toml', async () => {
    await using context = await openTestImages();
    await using storage = await TestRegistry.start();
    const built = await app();
    const reference = context.registry.serve('app', 'v1', built);
    storage.serve('app', 'v1', built);
    await configure(
      context,
      context.registry.host,
      `server = "${context.registry.url}"\n[header]\nx-key = "k"`,
    );
    using _ = context.registry.misbehave((request, response) => {
      if (!request.url.includes('/blobs/')) return false;
      response.writeHead(307, { location: `${storage.url}${request.url}?signature=secret` });
      response.end();
      return true;
    });
    await pull(context, reference, { registryToken: 'tok' });
    assert.ok(context.registry.requests.every((request) => request.headers['x-key'] === 'k'));
    assert.ok(context.registry.requests.every((request) => request.headers.authorization === 'Bearer tok'));
    assert.equal(storage.requests.length, 2);
    for (const request of storage.requests) {
      assert.equal(request.headers.authorization, undefined);
      assert.equal(request.headers['x-key'], undefined);
    }
  });

  test('a 401 from another origin gets no token: its demand is not the registry’s', async () => {
    await using context = await openTestImages();
    await using storage = await TestRegistry.start();
    const reference = context.registry.serve('app', 'v1', await app());
    using _ = context.registry.misbehave((request, response) => {
      response.writeHead(307, { location: `${storage.url}${request.url}` });
      response.end();
      return true;
    });
    using __ = storage.misbehave((_request, response) => {
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${storage.url}/token"` });
      response.end();
      return true;
    });
    await assert.rejects(pull(context, reference, { username: 'a', password: 'b' }), {
      kind: 'permission-denied',
    });
    assert.equal(storage.count('/token'), 0);
  });

  const bad: readonly (readonly [string, string, RegExp])[] = [
    ['in a circle', '/v2/app/manifests/v1', /more than 5 redirects/],
    ['to a file', 'file:///etc/passwd', /not an http or https URL/],
    ['with credentials', 'http://a:secret@127.0.0.1:1/x', /carries credentials/],
  ];
  for (const [name, location, message] of bad) {
    test(`${name} is refused`, async () => {
      await using context = await openTestImages();
      const reference = context.registry.serve('app', 'v1', await app());
      using _ = context.registry.misbehave((_request, response) => {
        response.writeHead(302, { location });
        response.end();
        return true;
      });
      await assert.rejects(pull(context, reference), (error: Error) => {
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      });
      assert.ok(context.registry.requests.length <= 6);
    });
  }
});

describe('hosts.toml', () => {
  test('containerd#7043, containerd#10540: mirrors come first and are told the registry; they never see its credentials', async () => {
    await using context = await openTestImages();
    await using mirror = await TestRegistry.start();
    const built = await app();
    mirror.serve('app', 'v1', built);
    await configure(context, 'registry.test', `server = "${context.registry.url}"\n[host."${mirror.url}"]`);
    await pull(context, 'registry.test/app:v1', { username: 'a', password: 'b' });
    assert.equal(context.registry.requests.length, 0);
    for (const request of mirror.requests) {
      assert.match(request.url, /\?ns=registry\.test$/);
      assert.equal(request.headers.authorization, undefined);
    }
  });

  test('a mirror that fails, lacks the image or may not resolve gives way; the file is read at each pull', async () => {
    await using context = await openTestImages();
    await using mirror = await TestRegistry.start();
    const built = await app();
    context.registry.serve('app', 'v1', built);
    mirror.serve('app', 'v1', built);
    const server = `server = "${context.registry.url}"\n`;
    await configure(context, 'r.test', `${server}[host."http://127.0.0.1:1"]\n[host."${mirror.url}/none"]`);
    await pull(context, 'r.test/app:v1');
    assert.ok(context.registry.count('/manifests/') === 1);
    await configure(context, 'r.test', `${server}[host."${mirror.url}"]\ncapabilities = ["pull"]`);
    context.images.store.remove(built.config.digest);
    context.images.layers.collect(new Set());
    await pull(context, 'r.test/app:v1');
    assert.equal(context.registry.count('/manifests/'), 2);
    assert.equal(mirror.count('/blobs/') > 0, true);
    await assert.rejects(pull(context, 'r.test/gone:v1'), { kind: 'not-found' });
  });

  test('a mirror that sends other bytes is passed over', async () => {
    await using context = await openTestImages();
    await using mirror = await TestRegistry.start();
    const built = await app();
    context.registry.serve('app', 'v1', built);
    mirror.serve('app', 'v1', built);
    for (const { digest, bytes } of [...built.layers, built.config]) {
      mirror.serveBlob({ digest, bytes: Buffer.alloc(bytes.length, 'x') });
    }
    await configure(context, 'r.test', `server = "${context.registry.url}"\n[host."${mirror.url}"]`);
    await pull(context, 'r.test/app:v1');
    assert.equal(mirror.count('/blobs/'), 2);
    assert.equal(context.registry.count('/blobs/'), 2);
    assert.equal(context.registry.count('/manifests/'), 0);
  });

  test('containerd#7118: custom authority and client certificate', async () => {
    const pem = (name: string): Promise<string> =>
      readFile(new URL(`../testing/tls/${name}`, import.meta.url), 'utf8');
    const [authority, certPem, keyPem] = await Promise.all(
      ['authority.crt', 'server.crt', 'server.key'].map(pem),
    );
    await using secure = await TestRegistry.start({
      certPem: certPem ?? '',
      keyPem: keyPem ?? '',
      clientCaPem: authority ?? '',
    });
    const tls = new URL('../testing/tls/', import.meta.url).pathname;
    secure.serve('app', 'v1', await app());
    await using context = await openTestImages();
    const server = `server = "${secure.url}"\n`;
    const client = `client = [["${tls}client.crt", "${tls}client.key"]]\n`;
    await configure(context, 's.test', server + client);
    await assert.rejects(pull(context, 's.test/app:v1'), { kind: 'unavailable', message: /certificate/ });
    await configure(context, 's.test', `${server}ca = "${tls}authority.crt"\n`);
    await assert.rejects(pull(context, 's.test/app:v1'), { kind: 'unavailable' });
    await configure(context, 's.test', `${server}${client}ca = "${tls}authority.crt"\n`);
    await pull(context, 's.test/app:v1');
    context.images.store.remove(context.images.store.list()[0]?.id ?? assert.fail());
    await configure(context, 's.test', `${server}${client}skip_verify = true\n`);
    await pull(context, 's.test/app:v1');
  });

  test('https is not downgraded by a redirect', async () => {
    const pem = (name: string): Promise<string> =>
      readFile(new URL(`../testing/tls/${name}`, import.meta.url), 'utf8');
    await using secure = await TestRegistry.start({
      certPem: await pem('server.crt'),
      keyPem: await pem('server.key'),
    });
    await using context = await openTestImages();
    using _ = secure.misbehave((request, response) => {
      response.writeHead(302, { location: `${context.registry.url}${request.url}` });
      response.end();
      return true;
    });
    await configure(context, 's.test', `server = "${secure.url}"\nskip_verify = true`);
    await assert.rejects(pull(context, 's.test/app:v1'), {
      kind: 'permission-denied',
      message: /is not https/,
    });
    assert.equal(context.registry.requests.length, 0);
  });
});

test('CVE-2026-53495: foreign layers are fetched from their own address, without credentials', async () => {
  await using context = await openTestImages();
  await using elsewhere = await TestRegistry.start();
  const layer = await buildLayer([{ name: 'f', content: 'f' }]);
  const built = buildImage({ layers: [layer] });
  elsewhere.serveBlob(layer);
  context.registry.serveBlob(built.config);
  const foreign = {
    ...descriptor(layer),
    mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    urls: [`ftp://x/`, `${elsewhere.url}/v2/any/blobs/${layer.digest}`],
  };
  const manifest = jsonBlob(built.manifest.mediaType, {
    schemaVersion: 2,
    config: descriptor(built.config),
    layers: [foreign],
  });
  const reference = context.registry.serveManifest('app', 'v1', manifest);
  await pull(context, reference, { registryToken: 'tok' });
  assert.equal(elsewhere.requests.length, 1);
  assert.equal(elsewhere.requests[0]?.headers.authorization, undefined);
});

test('an https registry is reached through the proxy by CONNECT', async () => {
  const pem = (name: string): Promise<string> =>
    readFile(new URL(`../testing/tls/${name}`, import.meta.url), 'utf8');
  await using secure = await TestRegistry.start({
    certPem: await pem('server.crt'),
    keyPem: await pem('server.key'),
  });
  const connects: string[] = [];
  const proxy = createServer();
  proxy.on('connect', (request, socket) => {
    connects.push(`${request.url} ${request.headers['proxy-authorization']}`);
    const upstream = connect(Number(secure.host.split(':')[1]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    for (const end of [upstream, socket]) end.on('error', () => end.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  const { promise: listening, resolve } = Promise.withResolvers<void>();
  proxy.once('listening', resolve);
  await listening;
  const port = (proxy.address() as AddressInfo).port;
  {
    await using context = await openTestImages({
      environment: { HTTPS_PROXY: `http://u:p@127.0.0.1:${port}` },
    });
    secure.serve('app', 'v1', await app());
    const tls = new URL('../testing/tls/', import.meta.url).pathname;
    await configure(context, 'registry.test', `ca = "${tls}authority.crt"`);
    await pull(context, 'registry.test/app:v1');
  }
  assert.ok(connects.length > 0);
  assert.deepEqual([...new Set(connects)], ['registry.test:443 Basic dTpw']);
  proxy.closeAllConnections();
  await new Promise((done) => proxy.close(done));
});
