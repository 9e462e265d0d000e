/**
 * Images made from a few entries, for tests: layer tars, a config, a manifest, an index, and a push to a registry.
 * Everything is deterministic: the same entries give the same digests.
 */
import { createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { type Digest, parseDigest } from '../../lib/ids.ts';
import { type LayerCompression, ociConfig, ociIndex, ociManifest } from '../media-types.ts';

/** A tar header as `tar-stream` takes it (`name` is needed; `type` is a file unless said) and, for files, what is in it. */
export interface LayerEntry extends Partial<Header> {
  readonly name: string;
  readonly content?: string | Buffer;
}

export interface BuiltBlob {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

export interface BuiltLayer extends BuiltBlob {
  readonly diffId: Digest;
}

/** The `config` object of an image's config file. */
export interface FixtureConfig {
  readonly User?: string;
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly StopSignal?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
}

export interface BuiltImage {
  readonly manifest: BuiltBlob;
  readonly config: BuiltBlob;
  readonly layers: readonly BuiltLayer[];
  readonly platform: { readonly os: string; readonly architecture: string };
}

const layerTypes: Readonly<Record<LayerCompression, string>> = {
  none: 'application/vnd.oci.image.layer.v1.tar',
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
};

/** A layer of these entries, in their order. Owner root and time 0 unless an entry says otherwise. */
export async function buildLayer(
  entries: readonly LayerEntry[],
  compression: LayerCompression = 'gzip',
): Promise<BuiltLayer> {
  const tar = await tarOf(entries);
  return layerOfTar(tar, compression);
}

/** A layer of a tar that was made elsewhere, hostile ones included. */
export function layerOfTar(tar: Buffer, compression: LayerCompression = 'gzip'): BuiltLayer {
  const blob = builtBlob(layerTypes[compression], compressed(tar, compression));
  return { ...blob, diffId: sha256(tar) };
}

/** An image of these layers, bottom first. The platform is linux and this machine's architecture unless given. */
export function buildImage(options: {
  readonly layers: readonly BuiltLayer[];
  readonly config?: FixtureConfig;
  readonly platform?: { readonly os: string; readonly architecture: string };
  /** Of the manifest. */
  readonly annotations?: Readonly<Record<string, string>>;
}): BuiltImage {
  const platform = options.platform ?? { os: 'linux', architecture: hostArchitecture() };
  const config = jsonBlob(ociConfig, {
    ...platform,
    config: options.config ?? {},
    rootfs: { type: 'layers', diff_ids: options.layers.map((layer) => layer.diffId) },
  });
  const manifest = jsonBlob(ociManifest, {
    schemaVersion: 2,
    mediaType: ociManifest,
    config: descriptor(config),
    layers: options.layers.map(descriptor),
    ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
  });
  return { manifest, config, layers: options.layers, platform };
}

/** An index over images of several platforms. */
export function buildIndex(images: readonly BuiltImage[]): BuiltBlob {
  return jsonBlob(ociIndex, {
    schemaVersion: 2,
    mediaType: ociIndex,
    manifests: images.map((image) => ({ ...descriptor(image.manifest), platform: image.platform })),
  });
}

/** A blob of a JSON document, for manifests and configs that are not as they should be. */
export function jsonBlob(mediaType: string, value: unknown): BuiltBlob {
  return builtBlob(mediaType, Buffer.from(JSON.stringify(value)));
}

/** A blob of any bytes. */
export function builtBlob(mediaType: string, bytes: Buffer): BuiltBlob {
  return { mediaType, digest: sha256(bytes), bytes };
}

/** How a manifest refers to a blob. */
export function descriptor(blob: BuiltBlob): { mediaType: string; digest: string; size: number } {
  return { mediaType: blob.mediaType, digest: blob.digest, size: blob.bytes.length };
}

/** Where to push: `http://127.0.0.1:5000`, `library/busybox`, `latest`. */
export interface PushTarget {
  readonly registryUrl: string;
  readonly repository: string;
  readonly tag: string;
}

/** Pushes blobs, manifest and tag by the distribution API, as any client does. @throws Error with the registry's answer */
export async function pushImage(target: PushTarget, image: BuiltImage): Promise<void> {
  await pushBlobs(target, image);
  await pushManifest(target, image.manifest, target.tag);
}

/** Pushes several platforms under one tag. */
export async function pushIndex(target: PushTarget, images: readonly BuiltImage[]): Promise<void> {
  for (const image of images) {
    await pushBlobs(target, image);
    await pushManifest(target, image.manifest, image.manifest.digest);
  }
  await pushManifest(target, buildIndex(images), target.tag);
}

async function pushBlobs(target: PushTarget, image: BuiltImage): Promise<void> {
  const base = `${target.registryUrl}/v2/${target.repository}`;
  for (const blob of [...image.layers, image.config]) {
    const start = await fetch(`${base}/blobs/uploads/`, { method: 'POST' });
    const location = start.headers.get('location');
    if (start.status !== 202 || location === null) throw await pushError('start an upload', start);
    const url = new URL(location, target.registryUrl);
    url.searchParams.set('digest', blob.digest);
    const end = await fetch(url, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Uint8Array(blob.bytes),
    });
    if (end.status !== 201) throw await pushError(`upload ${blob.digest}`, end);
  }
}

async function pushManifest(target: PushTarget, manifest: BuiltBlob, name: string): Promise<void> {
  const answer = await fetch(`${target.registryUrl}/v2/${target.repository}/manifests/${name}`, {
    method: 'PUT',
    headers: { 'content-type': manifest.mediaType },
    body: new Uint8Array(manifest.bytes),
  });
  if (answer.status !== 201) throw await pushError(`push the manifest ${name}`, answer);
}

async function pushError(what: string, answer: Response): Promise<Error> {
  return new Error(`${what}: HTTP ${answer.status} ${await answer.text()}`);
}

async function tarOf(entries: readonly LayerEntry[]): Promise<Buffer> {
  const stream = pack();
  for (const { content = '', ...header } of entries) {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const full = {
      mtime: new Date(0),
      mode: header.type === 'directory' ? 0o755 : 0o644,
      ...header,
    };
    stream.entry(bytes.length === 0 ? full : { ...full, size: bytes.length }, bytes);
  }
  stream.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of stream as unknown as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function compressed(tar: Buffer, compression: LayerCompression): Buffer {
  if (compression === 'gzip') return gzipSync(tar);
  return compression === 'zstd' ? zstdCompressSync(tar) : tar;
}

function sha256(bytes: Buffer): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}

function hostArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}
