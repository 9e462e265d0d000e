import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EngineError, type ErrorKind } from '../lib/errors.ts';
import { parseImageConfig } from './image-config.ts';
import { type ImageIndex, maxDocumentBytes, parseManifest } from './manifest.ts';
import {
  dockerConfig,
  dockerIndex,
  dockerManifest,
  ociConfig,
  ociIndex,
  ociManifest,
} from './media-types.ts';
import { choosePlatform, platformText } from './platform.ts';

const digest = (fill: string): string => `sha256:${fill.repeat(64)}`;
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: digest('b'), size: 10 };
const config = { mediaType: ociConfig, digest: digest('a'), size: 20 };
const manifest = { schemaVersion: 2, mediaType: ociManifest, config, layers: [layer] };
const index = {
  schemaVersion: 2,
  mediaType: ociIndex,
  manifests: [
    {
      mediaType: ociManifest,
      digest: digest('c'),
      size: 3,
      platform: { os: 'linux', architecture: 'amd64' },
    },
  ],
};

function parse(value: unknown, contentType?: string): ReturnType<typeof parseManifest> {
  const bytes = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  return parseManifest(bytes, { name: 'manifest of r.io/a:1', contentType });
}

function throwsKind(kind: ErrorKind, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof EngineError, String(error));
    assert.match(error.message, message);
    assert.equal(error.kind, kind);
    return true;
  };
}

describe('parseManifest', () => {
  test('reads OCI and Docker manifests and indexes', () => {
    assert.equal(parse(manifest, `${ociManifest}; charset=utf-8`).kind, 'manifest');
    assert.equal(parse({ ...manifest, mediaType: undefined }, ociManifest).kind, 'manifest');
    assert.equal(parse({ ...manifest, mediaType: undefined }).mediaType, ociManifest);
    assert.equal(
      parse(manifest, 'application/json').kind,
      'manifest',
      'a static file server does not know better',
    );
    assert.equal(parse(index, ociIndex).kind, 'index');
    assert.equal(parse({ ...index, mediaType: dockerIndex }, dockerIndex).kind, 'index');
    const docker = { ...manifest, mediaType: dockerManifest, config: { ...config, mediaType: dockerConfig } };
    assert.equal(parse(docker, dockerManifest).kind, 'manifest');
  });

  const ambiguous: readonly (readonly [string, unknown, string | undefined])[] = [
    ['an index sent as a manifest', index, ociManifest],
    ['a manifest sent as an index', manifest, ociIndex],
    ['manifests and layers in one', { ...manifest, manifests: index.manifests }, ociManifest],
    ['layers in an index', { ...index, layers: [layer] }, ociIndex],
    [
      'an untyped body with both',
      { ...manifest, mediaType: undefined, manifests: index.manifests },
      undefined,
    ],
    ['an index without manifests', { schemaVersion: 2, mediaType: ociIndex }, ociIndex],
  ];
  for (const [name, value, contentType] of ambiguous) {
    test(`CVE-2021-41190, GHSA-5j5w-g665-5m35: refuses ${name}`, () => {
      assert.throws(() => parse(value, contentType), throwsKind('data-loss', /^manifest of r\.io\/a:1: /));
    });
  }

  test('refuses what is no image, by name', () => {
    assert.throws(() => parse({ schemaVersion: 1, fsLayers: [] }), throwsKind('unimplemented', /schema 1/));
    assert.throws(() => parse('<html>'), throwsKind('data-loss', /not JSON/));
    assert.throws(() => parse('[]'), throwsKind('data-loss', /document/));
    assert.throws(() => parse({ ...manifest, schemaVersion: 3 }), throwsKind('data-loss', /schemaVersion 3/));
    assert.throws(() => parse(manifest, 'text/html'), throwsKind('data-loss', /text\/html/));
    const artifact = { ...manifest, config: { ...config, mediaType: 'application/vnd.oci.empty.v1+json' } };
    assert.throws(() => parse(artifact), throwsKind('invalid-argument', /artifact/));
    const odd = {
      ...manifest,
      layers: [{ ...layer, mediaType: 'application/vnd.oci.image.layer.v1.tar+xz' }],
    };
    assert.throws(() => parse(odd), throwsKind('unimplemented', /tar\+xz/));
  });

  test('CVE-2023-25153: refuses absurd sizes', () => {
    assert.throws(() => parse(' '.repeat(maxDocumentBytes + 1)), throwsKind('data-loss', /larger/));
    const values = `{"schemaVersion":2,"x":[${'{},'.repeat(100_000)}{}]}`;
    assert.throws(
      () => parse(values),
      throwsKind('data-loss', /^manifest of r\.io\/a:1: of 200004 brackets and commas, more/),
    );
    assert.throws(
      () => parseImageConfig(Buffer.from('{"a":'.repeat(1000)), 'config of r.io/a:1'),
      throwsKind('data-loss', /^config of r\.io\/a:1: nested deeper than/),
    );
    assert.throws(
      () => parse({ ...manifest, layers: [{ ...layer, size: -1 }] }),
      throwsKind('data-loss', /layers\.0\.size/),
    );
    assert.throws(
      () => parse({ ...manifest, layers: [{ ...layer, size: 1e15 }] }),
      throwsKind('data-loss', /size/),
    );
    assert.throws(
      () => parse({ ...manifest, layers: [{ ...layer, size: 1.5 }] }),
      throwsKind('data-loss', /size/),
    );
    assert.throws(
      () => parse({ ...manifest, config: { ...config, size: 9e6 } }),
      throwsKind('data-loss', /config of/),
    );
    const many = Array.from({ length: 600 }, () => layer);
    assert.throws(() => parse({ ...manifest, layers: many }), throwsKind('data-loss', /layers/));
  });

  test('CVE-2024-3727: refuses digests that are not digests', () => {
    for (const bad of ['sha256:../../etc/passwd', `sha256:${'A'.repeat(64)}`, 'md5:abc', '']) {
      assert.throws(
        () => parse({ ...manifest, config: { ...config, digest: bad } }),
        throwsKind('data-loss', /config\.digest/),
      );
    }
  });
});

describe('choosePlatform', () => {
  const entry = (fill: string, platform?: object): object => ({
    mediaType: ociManifest,
    digest: digest(fill),
    size: 1,
    platform,
  });
  const parsed = (manifests: readonly object[]): ImageIndex => {
    const result = parse({ schemaVersion: 2, mediaType: ociIndex, manifests });
    assert.equal(result.kind, 'index');
    return result;
  };
  const choose = (manifests: readonly object[], architecture: string, variant?: string): string =>
    choosePlatform(parsed(manifests), { os: 'linux', architecture, variant }, 'r.io/a').digest.slice(7, 8);

  test('takes system, architecture and the newest variant that runs', () => {
    const many = [
      entry('0', { os: 'unknown', architecture: 'unknown' }),
      entry('1', { os: 'windows', architecture: 'amd64' }),
      entry('2', { os: 'linux', architecture: 'arm', variant: 'v5' }),
      entry('3', { os: 'linux', architecture: 'arm', variant: 'v6' }),
      entry('4', { os: 'linux', architecture: 'arm', variant: 'v7' }),
      entry('5', { os: 'linux', architecture: 'arm64', variant: 'v8' }),
      entry('6', { os: 'linux', architecture: 'amd64', variant: 'v3' }),
      entry('7', { os: 'linux', architecture: 'amd64' }),
    ];
    assert.equal(choose(many, 'amd64'), '7');
    assert.equal(choose(many, 'amd64', 'v4'), '6');
    assert.equal(choose(many, 'arm', 'v7'), '4');
    assert.equal(choose(many, 'arm', 'v6'), '3');
    assert.equal(choose(many, 'arm64'), '5');
    assert.equal(choose([entry('8', { os: 'linux', architecture: 'x86_64' })], 'amd64'), '8');
  });

  test('one entry without a platform is the image; attestations alone are not', () => {
    assert.equal(choose([entry('9')], 'amd64'), '9');
    assert.throws(
      () => choose([entry('0', { os: 'unknown', architecture: 'unknown' })], 'amd64'),
      throwsKind('not-found', /no image for linux\/amd64 \(it has none\)/),
    );
    assert.throws(
      () => choose([entry('5', { os: 'linux', architecture: 'arm64', variant: 'v8' })], 's390x'),
      throwsKind('not-found', /it has linux\/arm64\/v8/),
    );
    assert.equal(platformText({ os: 'linux', architecture: 'amd64', variant: '' }), 'linux/amd64');
  });
});

describe('parseImageConfig', () => {
  const file = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [digest('d')] } };
  const read = (value: unknown): ReturnType<typeof parseImageConfig> =>
    parseImageConfig(Buffer.from(JSON.stringify(value)), 'config of r.io/a:1');

  test('reads every field, and absent or null ones as empty', () => {
    const full = read({
      ...file,
      config: {
        User: 'www-data',
        Entrypoint: ['/e'],
        Cmd: null,
        Env: ['A=b'],
        WorkingDir: '/w',
        Volumes: { '/data': {} },
        StopSignal: 'SIGINT',
        Labels: { a: 'b' },
        ExposedPorts: { '80/tcp': {} },
      },
    });
    assert.deepEqual(full.config, {
      user: 'www-data',
      entrypoint: ['/e'],
      cmd: [],
      env: ['A=b'],
      workingDir: '/w',
      volumes: ['/data'],
      stopSignal: 'SIGINT',
      labels: { a: 'b' },
      exposedPorts: ['80/tcp'],
    });
    assert.deepEqual(full.diffIds, [digest('d')]);
    assert.equal(read(file).config.user, '');
    assert.deepEqual(read({ ...file, rootfs: { type: 'layers', diff_ids: null } }).diffIds, []);
  });

  test('refuses what is not a config, naming the field', () => {
    const bad: readonly (readonly [object, RegExp])[] = [
      [{ ...file, rootfs: undefined }, /rootfs/],
      [{ ...file, rootfs: { type: 'layers', diff_ids: ['x'] } }, /rootfs\.diff_ids\.0/],
      [{ ...file, config: { Env: 'A=b' } }, /config\.Env/],
      [{ ...file, config: { Env: ['A=\0b'] } }, /NUL/],
      [{ ...file, config: { Cmd: ['x'.repeat(200_000)] } }, /config\.Cmd\.0/],
      [{ ...file, config: { User: 1 } }, /config\.User/],
      [{ ...file, config: { Labels: { a: 1 } } }, /config\.Labels\.a/],
    ];
    for (const [value, message] of bad) assert.throws(() => read(value), throwsKind('data-loss', message));
  });
});
