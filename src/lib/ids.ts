/** Branded identifiers. Each has one parser here, which is the only cast; everywhere else a plain string does not fit. */
import { randomBytes } from 'node:crypto';
import { EngineError } from './errors.ts';

declare const brand: unique symbol;
type Branded<T extends string> = string & { readonly [brand]: T };

export type SandboxId = Branded<'SandboxId'>;
export type ContainerId = Branded<'ContainerId'>;
/** `sha256:<64 hex>` or `sha512:<128 hex>`, lower case. */
export type Digest = Branded<'Digest'>;
/** The digest of an image's config: the image's identity on this node, whatever registry it came from. */
export type ImageId = Digest & { readonly image?: never };
/** The digest of a layer's uncompressed tar. */
export type DiffId = Digest & { readonly diff?: never };
/** The digest that names a layer together with all layers below it (OCI image-spec, "Layer ChainID"). */
export type ChainId = Digest & { readonly chain?: never };

const objectIdPattern = /^[0-9a-f]{64}$/;
// CVE-2024-3727: a digest that is not checked becomes a path and an authenticated request.
const digestPattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function newSandboxId(): SandboxId {
  return randomBytes(32).toString('hex') as SandboxId;
}

export function newContainerId(): ContainerId {
  return randomBytes(32).toString('hex') as ContainerId;
}

/** @throws EngineError invalid-argument */
export function parseSandboxId(text: string): SandboxId {
  if (!objectIdPattern.test(text))
    throw new EngineError('invalid-argument', `${quote(text)} is not a pod sandbox id`);
  return text as SandboxId;
}

/** @throws EngineError invalid-argument */
export function parseContainerId(text: string): ContainerId {
  if (!objectIdPattern.test(text))
    throw new EngineError('invalid-argument', `${quote(text)} is not a container id`);
  return text as ContainerId;
}

/** @throws EngineError invalid-argument */
export function parseDigest(text: string): Digest {
  if (!digestPattern.test(text)) throw new EngineError('invalid-argument', `${quote(text)} is not a digest`);
  return text as Digest;
}

export function isDigest(text: string): boolean {
  return digestPattern.test(text);
}

/** Untrusted text inside a message: quoted, control characters escaped, cut to 128 characters. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 128 ? `${text.slice(0, 128)}...` : text);
}
