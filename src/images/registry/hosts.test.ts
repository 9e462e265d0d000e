import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { registryHosts } from './hosts.ts';

/** A certs.d directory with these files. */
async function certsDirectory(
  files: Readonly<Record<string, string>>,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-certs-'));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), content);
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function baseUrls(files: Readonly<Record<string, string>>, domain: string): Promise<readonly string[]> {
  await using directory = await certsDirectory(files);
  return (await registryHosts([directory.path], domain)).map((host) => host.baseUrl);
}

describe('registryHosts', () => {
  test('without configuration: https, plain http on this machine, Docker Hub by its API host', async () => {
    assert.deepEqual(await baseUrls({}, 'r.io'), ['https://r.io/v2']);
    assert.deepEqual(await baseUrls({}, 'r.io:5000'), ['https://r.io:5000/v2']);
    assert.deepEqual(await baseUrls({}, 'docker.io'), ['https://registry-1.docker.io/v2']);
    for (const own of ['localhost', 'localhost:5000', '127.0.0.1:5000', '127.9.9.9', '[::1]:5000']) {
      assert.deepEqual(await baseUrls({}, own), [`http://${own}/v2`]);
    }
  });

  test('mirrors come in the order of the file, then the server; paths get /v2 unless overridden', async () => {
    const toml = `server = "https://upstream.io"
[host."http://m1:5000"]
capabilities = ["pull", "resolve"]
dial_timeout = "1m1.5s"
[host."m2/prefix/"]
capabilities = ["pull"]
[host."m2/prefix/".header]
x-one = "1"
x-two = ["2", "3"]
[host."https://m3/custom"]
override_path = true
skip_verify = true
[host."https://m4/v2"]`;
    await using directory = await certsDirectory({ 'r.io/hosts.toml': toml });
    const hosts = await registryHosts([directory.path], 'r.io');
    assert.deepEqual(
      hosts.map((host) => host.baseUrl),
      [
        'http://m1:5000/v2',
        'https://m2/prefix/v2',
        'https://m3/custom',
        'https://m4/v2',
        'https://upstream.io/v2',
      ],
    );
    assert.deepEqual(
      hosts.map((host) => host.canResolve),
      [true, false, true, true, true],
    );
    assert.deepEqual(
      hosts.map((host) => host.isOrigin),
      [false, false, false, false, true],
    );
    assert.deepEqual(
      hosts.map((host) => host.namespace),
      ['r.io', 'r.io', 'r.io', 'r.io', 'r.io'],
    );
    assert.equal(hosts[0]?.dialTimeoutMs, 61_500);
    assert.deepEqual(hosts[1]?.headers, { 'x-one': ['1'], 'x-two': ['2', '3'] });
    assert.equal(hosts[2]?.tls.skipVerify, true);
  });

  test('looks up host_port_, then host:port, then _default; the first root that has one wins', async () => {
    const named = (name: string): string => `server = "https://${name}"`;
    const all = {
      'r.io_5000_/hosts.toml': named('flat'),
      'r.io:5000/hosts.toml': named('colon'),
      '_default/hosts.toml': named('default'),
    };
    assert.deepEqual(await baseUrls(all, 'r.io:5000'), ['https://flat/v2']);
    const { 'r.io_5000_/hosts.toml': _, ...rest } = all;
    assert.deepEqual(await baseUrls(rest, 'r.io:5000'), ['https://colon/v2']);
    assert.deepEqual(await baseUrls(rest, 'r.io'), ['https://default/v2']);
    await using ours = await certsDirectory({ 'a.io/hosts.toml': named('ours') });
    await using theirs = await certsDirectory({
      'a.io/hosts.toml': named('theirs'),
      'b.io/hosts.toml': named('b'),
    });
    const roots = [ours.path, theirs.path];
    assert.equal((await registryHosts(roots, 'a.io'))[0]?.baseUrl, 'https://ours/v2');
    assert.equal((await registryHosts(roots, 'b.io'))[0]?.baseUrl, 'https://b/v2');
    assert.equal((await registryHosts(['/nonexistent'], 'c.io'))[0]?.baseUrl, 'https://c.io/v2');
  });

  test('reads certificates, relative and in every shape; or as Docker lays them', async () => {
    const toml = `ca = ["one.crt", "sub/two.crt"]
client = [["c.cert", "c.key"], "both.pem"]`;
    const pems = { 'one.crt': '1', 'sub/two.crt': '2', 'c.cert': '3', 'c.key': '4', 'both.pem': '5' };
    const files = Object.fromEntries(Object.entries(pems).map(([name, text]) => [`r.io/${name}`, text]));
    await using own = await certsDirectory({ ...files, 'r.io/hosts.toml': toml });
    assert.deepEqual((await registryHosts([own.path], 'r.io'))[0]?.tls, {
      caPems: ['1', '2'],
      clientPairs: [
        { certPem: '3', keyPem: '4' },
        { certPem: '5', keyPem: '5' },
      ],
      skipVerify: false,
    });
    await using docker = await certsDirectory(files);
    assert.deepEqual((await registryHosts([docker.path], 'r.io'))[0]?.tls, {
      caPems: ['1'],
      clientPairs: [{ certPem: '3', keyPem: '4' }],
      skipVerify: false,
    });
  });

  const mistakes: readonly (readonly [string, RegExp])[] = [
    ['server = [', /hosts\.toml/],
    ['skip_verify = "yes"', /skip_verify/],
    ['[host."ftp://x"]', /not an http or https URL/],
    ['[host."https://user:secret@x"]', /host x: a URL with credentials/],
    ['[host."https://x"]\ncapabilities = ["fly"]', /capabilities/],
    ['dial_timeout = "soon"', /dial_timeout "soon"/],
    ['ca = "/nonexistent.crt"', /\/nonexistent\.crt/],
    ['[header]\nx = "a\\r\\nb"', /Invalid character/],
  ];
  for (const [toml, message] of mistakes) {
    test(`a mistake fails by name: ${toml.slice(0, 40)}`, async () => {
      await using directory = await certsDirectory({ 'r.io/hosts.toml': toml });
      await assert.rejects(registryHosts([directory.path], 'r.io'), (error: Error) => {
        assert.match(error.message, message);
        assert.match(error.message, /r\.io\/hosts\.toml/);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      });
    });
  }
});
