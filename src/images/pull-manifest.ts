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

/** With what was read so far. */
interface Collecting extends Wanted {
  readonly documents: ImageDocument[];
}

async function findManifest(
  deps: ResolveDeps,
  wanted: Collecting,
  signal: AbortSignal,
): Promise<{ target: Digest; manifest: ImageManifest }> {
  const name = canonicalString(wanted.reference);
  const top = await readTop(deps, wanted, signal);
  if (top.parsed.kind === 'manifest') return { target: top.digest, manifest: top.parsed };
  const entry = choosePlatform(top.parsed, wanted.platform, name);
  const inner = await readEntry(deps, { ...wanted, entry }, signal);
  if (inner.parsed.kind !== 'manifest') throw refused(name, 'an index that points at an index');
  if (inner.parsed.mediaType !== entry.mediaType) {
    throw refused(
      name,
      `the index calls ${entry.digest} ${entry.mediaType}, it is ${inner.parsed.mediaType}`,
    );
  }
  return { target: top.digest, manifest: inner.parsed };
}

interface ReadManifest {
  readonly digest: Digest;
  readonly parsed: ReturnType<typeof parseManifest>;
}

/** What the reference points at is always asked of the registry, by digest too: whoever pulls must be let in. */
async function readTop(deps: ResolveDeps, wanted: Collecting, signal: AbortSignal): Promise<ReadManifest> {
  const { reference } = wanted;
  const what = `manifest of ${canonicalString(reference)}`;
  const tagOrDigest = reference.digest ?? reference.tag ?? '';
  const { digest, bytes, contentType } = await fetchManifest(deps.repository, { tagOrDigest, what }, signal);
  wanted.lease(digest);
  wanted.documents.push({ digest, bytes });
  return { digest, parsed: parseManifest(bytes, { name: what, contentType }) };
}

/** An entry of an index: from our own store when it is there, so that a pull of what is known is one request. */
async function readEntry(
  deps: ResolveDeps,
  wanted: Collecting & { readonly entry: Descriptor },
  signal: AbortSignal,
): Promise<ReadManifest> {
  const { digest, sizeBytes, mediaType } = wanted.entry;
  const what = `manifest of ${digestReference(wanted.reference, digest)}`;
  wanted.lease(digest);
  const stored = await deps.content.read(digest);
  const { bytes, contentType } =
    stored === undefined
      ? await fetchManifest(deps.repository, { tagOrDigest: digest, what }, signal)
      : { bytes: stored, contentType: mediaType };
  if (bytes.length !== sizeBytes) {
    throw refused(what, `${bytes.length} bytes, the index says ${sizeBytes}`);
  }
  wanted.documents.push({ digest, bytes });
  return { digest, parsed: parseManifest(bytes, { name: what, contentType }) };
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
