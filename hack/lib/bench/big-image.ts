/** A large image made of this machine's /usr: seven layers of some 150 MB, kept in a registry's storage between runs. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  lstatSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { jsonBlob } from '../../../src/images/testing/build-image.ts';

/** How the layers of the image are compressed. */
export type BigImageKind = 'gzip' | 'zstd';

const layerCount = 7;
const maxBytes = 1_042_000_000;
const maxFiles = 63_500;
const compressors: Readonly<Record<BigImageKind, readonly string[]>> = {
  gzip: ['gzip', '-6'],
  zstd: ['zstd', '-3', '-T1'],
};
const mediaTypes: Readonly<Record<BigImageKind, string>> = {
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
};
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const configType = 'application/vnd.oci.image.config.v1+json';

/** The image in the registry at `host:port`; made and pushed when it is not there yet. Gives its reference. */
export async function bigImage(
  registry: string,
  kind: BigImageKind,
  say: (text: string) => void,
): Promise<string> {
  const repository = `bench/usr-${kind}`;
  const reference = `${registry}/${repository}:latest`;
  const url = `http://${registry}/v2/${repository}/manifests/latest`;
  const known = await fetch(url, { method: 'HEAD', headers: { accept: manifestType } });
  if (known.ok) return reference;
  say(`making an image of /usr in ${layerCount} layers (${kind}): some minutes, once`);
  const directory = mkdtempSync(join(tmpdir(), 'gantry-big-image-'));
  try {
    const files = listFiles('/usr');
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    say(`${files.length} files, ${Math.round(bytes / 1e6)} MB`);
    await makeAndPush({ registryUrl: `http://${registry}`, repository, kind, directory }, files);
  } finally {
    rmSync(directory, { recursive: true });
  }
  return reference;
}

/** Where the registry has the layers of the image. */
export async function layersOf(registry: string, kind: BigImageKind): Promise<string[]> {
  const layers = await describedLayers(registry, kind);
  return layers.map(({ digest }) => `http://${registry}/v2/bench/usr-${kind}/blobs/${digest}`);
}

/**
 * Before each pull: a node does not pull what it removed a moment ago, but each turn does. ext4 without a journal gives away no inode that
 * was deleted within the last minutes, and for each new file it looks at all of them, as long as the blocks that say so are cached: most of a
 * pull's time after some turns. Without the caches the disk is as on a node; what the registry serves is read again.
 */
export async function forgetRemoved(registry: string, kind: BigImageKind): Promise<void> {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  for (const url of await layersOf(registry, kind)) {
    const { ok, status, body } = await fetch(url);
    if (!ok) throw new Error(`${url}: the registry says ${status}`);
    await body?.pipeTo(new WritableStream());
  }
}

/** `gzip, 7 layers, 360 MB to fetch`. */
export async function describeBigImage(registry: string, kind: BigImageKind): Promise<string> {
  const layers = await describedLayers(registry, kind);
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  return `${kind}, ${layers.length} layers, ${Math.round(bytes / 1e6)} MB to fetch`;
}

async function describedLayers(
  registry: string,
  kind: BigImageKind,
): Promise<readonly { readonly digest: string; readonly size: number }[]> {
  const url = `http://${registry}/v2/bench/usr-${kind}/manifests/latest`;
  const answer = await fetch(url, { headers: { accept: manifestType } });
  return ((await answer.json()) as { readonly layers: { digest: string; size: number }[] }).layers;
}

interface Making {
  readonly registryUrl: string;
  readonly repository: string;
  readonly kind: BigImageKind;
  readonly directory: string;
}

async function makeAndPush(
  { registryUrl, repository, kind, directory }: Making,
  listed: readonly ListedFile[],
): Promise<void> {
  const layers = [];
  for (const [index, files] of groupsOf(listed).entries()) {
    const layer = await makeLayer(directory, { index, files, kind });
    await upload({ registryUrl, repository }, layer);
    layers.push(layer);
  }
  const config = jsonBlob(configType, {
    os: 'linux',
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const describe = ({ mediaType, digest, size }: { mediaType: string; digest: string; size: number }) => ({
    mediaType,
    digest,
    size,
  });
  const manifest = jsonBlob(manifestType, {
    schemaVersion: 2,
    mediaType: manifestType,
    config: describe({ ...config, size: config.bytes.length }),
    layers: layers.map((layer) => describe({ ...layer, mediaType: mediaTypes[kind] })),
  });
  const configFile = join(directory, 'config.json');
  writeFileSync(configFile, config.bytes);
  await upload(
    { registryUrl, repository },
    { file: configFile, digest: config.digest, size: config.bytes.length },
  );
  const answer = await fetch(`${registryUrl}/v2/${repository}/manifests/latest`, {
    method: 'PUT',
    body: new Uint8Array(manifest.bytes),
    headers: { 'content-type': manifestType },
  });
  if (!answer.ok) throw new Error(`the registry took no manifest: ${answer.status} ${await answer.text()}`);
}

interface ListedFile {
  readonly path: string;
  readonly bytes: number;
}

/** Files, directories and symlinks in a fixed order, up to the limits. */
function listFiles(root: string): ListedFile[] {
  const found: ListedFile[] = [];
  let bytes = 0;
  const walk = (directory: string): void => {
    for (const name of readdirSync(directory).toSorted()) {
      const path = join(directory, name);
      const status = lstatSync(path);
      if (found.length >= maxFiles || bytes >= maxBytes) return;
      found.push({ path: path.slice(1), bytes: status.isFile() ? status.size : 0 });
      bytes += status.isFile() ? status.size : 0;
      if (status.isDirectory()) walk(path);
    }
  };
  walk(root);
  return found;
}

/** Parts of about the same size. */
function groupsOf(files: readonly ListedFile[]): string[][] {
  const share = files.reduce((sum, { bytes }) => sum + bytes, 0) / layerCount;
  const groups: string[][] = Array.from({ length: layerCount }, () => []);
  let bytes = 0;
  for (const file of files) {
    groups[Math.min(layerCount - 1, Math.floor(bytes / share))]?.push(file.path);
    bytes += file.bytes;
  }
  return groups;
}

interface Layer {
  readonly file: string;
  readonly digest: string;
  readonly diffId: string;
  readonly size: number;
}

async function makeLayer(
  directory: string,
  {
    index,
    files,
    kind,
  }: { readonly index: number; readonly files: readonly string[]; readonly kind: BigImageKind },
): Promise<Layer> {
  const list = join(directory, `layer-${index}.list`);
  const tar = join(directory, `layer-${index}.tar`);
  writeFileSync(list, files.join('\0'));
  const options = ['--no-recursion', '--null', '--verbatim-files-from', `--files-from=${list}`];
  execFileSync('tar', ['--create', `--file=${tar}`, '--directory=/', '--numeric-owner', ...options]);
  const diffId = await digestOf(tar);
  const file = `${tar}.${kind}`;
  const [program = '', ...args] = compressors[kind];
  const child = spawn('sh', ['-c', `exec "$0" "$@" <"${tar}" >"${file}"`, program, ...args], {
    stdio: 'inherit',
  });
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
  rmSync(tar);
  return { file, digest: await digestOf(file), diffId, size: statSync(file).size };
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** Too large for memory: the distribution API's upload in one piece, from the file. */
async function upload(
  target: { readonly registryUrl: string; readonly repository: string },
  blob: Pick<Layer, 'file' | 'digest' | 'size'>,
): Promise<void> {
  const begun = await fetch(`${target.registryUrl}/v2/${target.repository}/blobs/uploads/`, {
    method: 'POST',
  });
  const url = new URL(begun.headers.get('location') ?? '', target.registryUrl);
  url.searchParams.set('digest', blob.digest);
  const answer = await fetch(url, {
    method: 'PUT',
    body: Readable.toWeb(createReadStream(blob.file)) as ReadableStream,
    headers: { 'content-length': String(blob.size), 'content-type': 'application/octet-stream' },
    duplex: 'half',
  } as RequestInit);
  if (!answer.ok) throw new Error(`the registry took no blob: ${answer.status} ${await answer.text()}`);
}
