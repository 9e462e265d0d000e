/**
 * Manifests and indexes, as a registry sends them: untrusted JSON that decides what becomes a root file system.
 * A document that could be read in two ways is refused (CVE-2021-41190, GHSA-5j5w-g665-5m35).
 */
import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { EngineError, messageOf } from '../lib/errors.ts';
import { type Digest, isDigest, parseDigest, quote } from '../lib/ids.ts';
import { parseUntrustedJson } from '../lib/untrusted-json.ts';
import {
  bareMediaType,
  dockerConfig,
  dockerIndex,
  dockerManifest,
  layerCompression,
  ociConfig,
  ociIndex,
  ociManifest,
} from './media-types.ts';

/**
 * What registries take of a manifest at least; no manifest, index or config that anyone ships is near it.
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-manifests
 */
export const maxDocumentBytes = 4 * 1024 * 1024;
const maxLayers = 512;
const maxIndexEntries = 4096;
// 1 TiB: a layer above it is a lie or a denial of service.
const maxBlobBytes = 2 ** 40;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
}

/** Points at a blob: what it is, its digest and its exact size. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Where else a foreign layer may be had. Never sent credentials. */
  readonly urls: readonly string[];
  readonly platform: Platform | undefined;
}

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

const text = z.string().max(1024);
const descriptorSchema = z
  .object({
    mediaType: text,
    digest: z.string().refine(isDigest, 'is not a sha256 or sha512 digest'),
    size: z.int().min(0).max(maxBlobBytes),
    urls: z.array(z.string().max(4096)).max(16).nullish(),
    platform: z.object({ os: text, architecture: text, variant: text.nullish() }).nullish(),
  })
  .transform((raw): Descriptor => ({
    mediaType: bareMediaType(raw.mediaType),
    digest: parseDigest(raw.digest),
    sizeBytes: raw.size,
    urls: raw.urls ?? [],
    platform: raw.platform ? { ...raw.platform, variant: raw.platform.variant ?? undefined } : undefined,
  }));

const documentSchema = z.object({
  schemaVersion: z.int(),
  mediaType: text.optional(),
  config: descriptorSchema.optional(),
  layers: z.array(descriptorSchema).max(maxLayers).optional(),
  manifests: z.array(descriptorSchema).max(maxIndexEntries).optional(),
  fsLayers: z.unknown().optional(),
});
type Document = z.infer<typeof documentSchema>;

/**
 * Reads a manifest or an index. `contentType` is the registry's header, absent for a document from our own store.
 * @throws EngineError data-loss for a document that contradicts itself, unimplemented for schema 1
 */
export function parseManifest(
  bytes: Buffer,
  source: { readonly name: string; readonly contentType: string | undefined },
): ImageManifest | ImageIndex {
  const document = parseDocument(bytes, source.name);
  const mediaType = agreedMediaType(document, source);
  if (mediaType === ociIndex || mediaType === dockerIndex) return readIndex(document, mediaType, source.name);
  return readManifest(document, mediaType, source.name);
}

/** JSON of at most `maxDocumentBytes`, and of few enough values, that fits `schema`. @throws EngineError data-loss that names what is wrong where */
export function parseJson<T>(bytes: Buffer, schema: z.ZodType<T>, name: string): T {
  if (bytes.length > maxDocumentBytes) throw refused(name, `larger than ${maxDocumentBytes} bytes`);
  if (!isUtf8(bytes)) throw refused(name, 'not JSON: not UTF-8');
  let value: unknown;
  try {
    value = parseUntrustedJson(bytes);
  } catch (error) {
    throw refused(name, printable(messageOf(error)), error);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.map(String).join('.') || 'document';
  throw refused(name, `${printable(where)}: ${printable(issue?.message ?? 'invalid')}`);
}

/** Text that a registry had a hand in, inside a message: one line, no control characters, not long. */
function printable(text: string): string {
  return text.slice(0, 200).replaceAll(/[^ -~]/g, '?');
}

function parseDocument(bytes: Buffer, name: string): Document {
  const document = parseJson(bytes, documentSchema, name);
  if (document.schemaVersion === 1 || document.fsLayers !== undefined) {
    throw new EngineError(
      'unimplemented',
      `${name}: Docker image manifest schema 1 is not supported; push the image again with a current client`,
    );
  }
  if (document.schemaVersion !== 2) throw refused(name, `schemaVersion ${document.schemaVersion}`);
  return document;
}

function agreedMediaType(
  document: Document,
  source: { readonly name: string; readonly contentType: string | undefined },
): string {
  const sent = knownOrUndefined(source.contentType);
  const inside = document.mediaType === undefined ? undefined : bareMediaType(document.mediaType);
  if (sent !== undefined && inside !== undefined && sent !== inside) {
    throw refused(source.name, `sent as ${quote(sent)}, but says of itself that it is ${quote(inside)}`);
  }
  const mediaType = inside ?? sent ?? (document.manifests === undefined ? ociManifest : ociIndex);
  if (!manifestTypes.has(mediaType))
    throw refused(source.name, `media type ${quote(mediaType)} is not an image`);
  return mediaType;
}

const manifestTypes: ReadonlySet<string> = new Set([ociManifest, ociIndex, dockerManifest, dockerIndex]);
// Static file servers and some caches do not know better; the document's own word is then the only one.
const meaninglessTypes: ReadonlySet<string> = new Set([
  '',
  'application/json',
  'application/octet-stream',
  'text/plain',
]);

function knownOrUndefined(contentType: string | undefined): string | undefined {
  if (contentType === undefined) return undefined;
  const bare = bareMediaType(contentType);
  return meaninglessTypes.has(bare) ? undefined : bare;
}

function readIndex(document: Document, mediaType: string, name: string): ImageIndex {
  if (document.config !== undefined || document.layers !== undefined) {
    throw refused(name, 'an index that has a config or layers');
  }
  if (document.manifests === undefined) throw refused(name, 'an index without manifests');
  return { kind: 'index', mediaType, manifests: document.manifests };
}

function readManifest(document: Document, mediaType: string, name: string): ImageManifest {
  if (document.manifests !== undefined) throw refused(name, 'a manifest that has manifests');
  if (document.config === undefined) throw refused(name, 'a manifest without a config');
  if (document.layers === undefined) throw refused(name, 'a manifest without layers');
  const { config, layers } = document;
  if (config.mediaType !== ociConfig && config.mediaType !== dockerConfig) {
    throw new EngineError(
      'invalid-argument',
      `${name}: its config is ${quote(config.mediaType)}: an artifact, not a container image`,
    );
  }
  if (config.sizeBytes > maxDocumentBytes) throw refused(name, `config of ${config.sizeBytes} bytes`);
  const odd = layers.find((layer) => layerCompression(layer.mediaType) === undefined);
  if (odd !== undefined) {
    throw new EngineError(
      'unimplemented',
      `${name}: layer ${odd.digest} has the unsupported media type ${quote(odd.mediaType)}`,
    );
  }
  return { kind: 'manifest', mediaType, config, layers };
}

/** An answer that is not what it should be: the registry's data, not the user's request, is at fault. */
export function refused(name: string, reason: string, cause?: unknown): EngineError {
  return new EngineError('data-loss', `${name}: ${reason}`, { cause });
}
