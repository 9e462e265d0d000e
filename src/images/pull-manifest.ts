/** The first half of a pull: from a reference to the documents that say what the image is. */
import { EngineError } from '../lib/errors.ts';
import type { Digest, ImageId } from '../lib/ids.ts';
import type { ContentStore } from './content-store.ts';
import { type ImageConfigFile, parseImageConfig } from './image-config.ts';
import { type Descriptor, type ImageManifest, parseManifest, type Platform, refused } from './manifest.ts';
import { choosePlatform, platformText, runsOn } from './platform.ts';
import { canonicalString, digestReference, type ImageReference } from './reference.ts';
import type { Repository } from './registry/client.ts';
import { fetchDocument, fetchManifest } from './registry/manifests.ts';

/** An index, a manifest or a config: verified bytes. */
interface ImageDocument {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

export interface ResolvedImage {
  readonly id: ImageId;
  /** What the reference points at: the index when there is one. */
  readonly target: Digest;
  readonly config: ImageConfigFile;
  /** As many as the config has DiffIDs, in the same order. */
  readonly layers: readonly Descriptor[];
  /** Everything that was read on the way, to be kept with the image. */
  readonly documents: readonly ImageDocument[];
}

export interface Wanted {
  readonly reference: ImageReference;
  readonly platform: Platform;
  /** Called before a digest is looked up or fetched. */
  readonly lease: (digest: Digest) => void;
}

interface ResolveDeps {
  readonly content: ContentStore;
  readonly repository: Repository;
}

/** @throws EngineError as pullImage */
export async function resolveRemote(
  deps: ResolveDeps,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const documents: ImageDocument[] = [];
  const { target, manifest } = await findManifest(deps, { ...wanted, documents }, signal);
  const name = canonicalString(wanted.reference);
  const what = `config ${manifest.config.digest} of ${name}`;
  wanted.lease(manifest.config.digest);
  const bytes =
    (await deps.content.read(manifest.config.digest)) ??
    (await fetchDocument(deps.repository, { descriptor: manifest.config, what }, signal));
  documents.push({ digest: manifest.config.digest, bytes });
  const config = parseImageConfig(bytes, what);
  checkLayers(config, manifest, name);
  checkPlatform(config.platform, wanted.platform, name);
  return { id: manifest.config.digest, target, config, layers: manifest.layers, documents };
}

async function findManifest(
  deps: ResolveDeps,
  wanted: Wanted & { readonly documents: ImageDocument[] },
  signal: AbortSignal,
): Promise<{ target: Digest; manifest: ImageManifest }> {
  const { reference } = wanted;
  const name = canonicalString(reference);
  const top = await readManifest(
    deps,
    { ...wanted, by: reference.digest ?? reference.tag ?? '', name },
    signal,
  );
  if (top.parsed.kind === 'manifest') return { target: top.digest, manifest: top.parsed };
  const entry = choosePlatform(top.parsed, wanted.platform, name);
  const inner = await readManifest(
    deps,
    { ...wanted, by: entry.digest, name: digestReference(reference, entry.digest) },
    signal,
  );
  if (inner.sizeBytes !== entry.sizeBytes) {
    throw refused(
      `manifest ${entry.digest} of ${name}`,
      `${inner.sizeBytes} bytes, the index says ${entry.sizeBytes}`,
    );
  }
  if (inner.parsed.kind !== 'manifest') throw refused(name, 'an index that points at an index');
  if (inner.parsed.mediaType !== entry.mediaType) {
    throw refused(
      name,
      `the index calls ${entry.digest} ${entry.mediaType}, it is ${inner.parsed.mediaType}`,
    );
  }
  return { target: top.digest, manifest: inner.parsed };
}

/** Always asked of the registry, by digest too: whoever pulls must be let in, whatever is stored here already. */
async function readManifest(
  deps: ResolveDeps,
  wanted: Wanted & { readonly documents: ImageDocument[]; readonly by: string; readonly name: string },
  signal: AbortSignal,
): Promise<{ digest: Digest; sizeBytes: number; parsed: ReturnType<typeof parseManifest> }> {
  const what = `manifest of ${wanted.name}`;
  const fetched = await fetchManifest(deps.repository, { tagOrDigest: wanted.by, what }, signal);
  const { digest, bytes, contentType } = fetched;
  wanted.lease(digest);
  wanted.documents.push({ digest, bytes });
  return { digest, sizeBytes: bytes.length, parsed: parseManifest(bytes, { name: what, contentType }) };
}

function checkLayers(config: ImageConfigFile, manifest: ImageManifest, name: string): void {
  if (config.diffIds.length === manifest.layers.length) return;
  throw refused(
    name,
    `its manifest has ${manifest.layers.length} layers, its config ${config.diffIds.length}`,
  );
}

function checkPlatform(image: Platform, wanted: Platform, name: string): void {
  if (runsOn(image, wanted)) return;
  throw new EngineError(
    'not-found',
    `${name}: no image for ${platformText(wanted)} (it is for ${platformText(image)})`,
  );
}
