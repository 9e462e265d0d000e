/**
 * Image references, read as the `distribution/reference` grammar reads them: `busybox` is
 * `docker.io/library/busybox:latest`, `host:5000/a/b@sha256:...` is itself. Everything else in this folder takes the
 * parsed form, so a string from a pod spec never becomes a URL or a path unread.
 */
import { EngineError } from '../lib/errors.ts';
import { type Digest, isDigest, parseDigest, quote } from '../lib/ids.ts';

declare const brand: unique symbol;

/** A reference that was parsed. At least one of `tag` and `digest` is set. */
export interface ImageReference {
  /** Registry as the user names it: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly domain: string;
  /** Repository inside the registry: `library/busybox`. */
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
  readonly [brand]: 'ImageReference';
}

const defaultDomain = 'docker.io';
const legacyDefaultDomain = 'index.docker.io';
const officialPrefix = 'library/';
const defaultTag = 'latest';
const maxPathLength = 255;
// Longer than any valid reference (host 255, path 255, tag 128, digest 135): keeps the patterns off absurd input.
const maxReferenceLength = 1024;

const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainPattern = new RegExp(
  String.raw`^(?:${domainComponent}(?:\.${domainComponent})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$`,
);
const pathComponentPattern = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const identifierPattern = /^[a-f0-9]{64}$/;

/**
 * Parses and normalises. A reference without tag and digest gets the tag `latest`. With both, both are kept:
 * the digest decides what is pulled, the tag is for show.
 * @throws EngineError invalid-argument
 */
export function parseReference(text: string): ImageReference {
  if (text === '') throw invalid(text, 'it is empty');
  if (text.length > maxReferenceLength)
    throw invalid(text, `it is longer than ${maxReferenceLength} characters`);
  if (identifierPattern.test(text)) {
    throw invalid(text, '64 hexadecimal digits are an image id, not a repository');
  }
  const [beforeDigest, digest] = cutDigest(text);
  const [domain, remainder] = splitDomain(beforeDigest);
  const [path, tag] = cutTag(text, remainder);
  checkName(text, domain, path);
  return reference({ domain, path, tag: tag ?? (digest === undefined ? defaultTag : undefined), digest });
}

/** `registry/repository`, never shortened. */
function repositoryName(ref: Pick<ImageReference, 'domain' | 'path'>): string {
  return `${ref.domain}/${ref.path}`;
}

/** The full text: `docker.io/library/busybox:latest`, with the digest after the tag when there are both. */
export function canonicalString(ref: ImageReference): string {
  return withSuffixes(repositoryName(ref), ref);
}

/** The text as Docker shows it: without `docker.io/` and `library/`. */
export function familiarString(ref: ImageReference): string {
  return withSuffixes(familiarName(ref), ref);
}

/** The tag reference (`name:tag`) of `ref`, or undefined when a digest decides: a pull by digest names no tag. */
export function tagReference(ref: ImageReference): string | undefined {
  if (ref.tag === undefined || ref.digest !== undefined) return undefined;
  return `${repositoryName(ref)}:${ref.tag}`;
}

/** `name@digest`: how an image of this repository is named for ever. */
export function digestReference(ref: Pick<ImageReference, 'domain' | 'path'>, digest: Digest): string {
  return `${repositoryName(ref)}@${digest}`;
}

function familiarName(ref: ImageReference): string {
  if (ref.domain !== defaultDomain) return repositoryName(ref);
  if (!ref.path.startsWith(officialPrefix)) return ref.path;
  const rest = ref.path.slice(officialPrefix.length);
  return rest.includes('/') ? ref.path : rest;
}

function withSuffixes(name: string, ref: ImageReference): string {
  const tag = ref.tag === undefined ? '' : `:${ref.tag}`;
  const digest = ref.digest === undefined ? '' : `@${ref.digest}`;
  return `${name}${tag}${digest}`;
}

function cutDigest(text: string): readonly [string, Digest | undefined] {
  const at = text.indexOf('@');
  if (at === -1) return [text, undefined];
  const digest = text.slice(at + 1);
  if (!isDigest(digest)) throw invalid(text, `${quote(digest)} is not a sha256 or sha512 digest`);
  return [text.slice(0, at), parseDigest(digest)];
}

/** The first component is a registry when it cannot be a repository: a dot, a port, an upper case letter, `localhost`. */
function splitDomain(name: string): readonly [string, string] {
  const slash = name.indexOf('/');
  if (slash === -1) return [defaultDomain, officialPrefix + name];
  const first = name.slice(0, slash);
  const rest = name.slice(slash + 1);
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
  const domain = !isDomain || first === legacyDefaultDomain ? defaultDomain : first;
  const path = isDomain ? rest : name;
  return [domain, domain === defaultDomain && !path.includes('/') ? officialPrefix + path : path];
}

function cutTag(text: string, remainder: string): readonly [string, string | undefined] {
  const colon = remainder.indexOf(':');
  if (colon === -1) return [remainder, undefined];
  const tag = remainder.slice(colon + 1);
  if (!tagPattern.test(tag)) throw invalid(text, `${quote(tag)} is not a tag`);
  return [remainder.slice(0, colon), tag];
}

function checkName(text: string, domain: string, path: string): void {
  if (!domainPattern.test(domain)) throw invalid(text, `${quote(domain)} is not a registry host`);
  if (path.toLowerCase() !== path) throw invalid(text, 'the repository must be lower case');
  if (path.length > maxPathLength)
    throw invalid(text, `the repository is longer than ${maxPathLength} characters`);
  if (!path.split('/').every((component) => pathComponentPattern.test(component))) {
    throw invalid(text, `${quote(path)} is not a repository`);
  }
}

function reference(parts: Omit<ImageReference, typeof brand>): ImageReference {
  return parts as ImageReference;
}

function invalid(text: string, reason: string): EngineError {
  return new EngineError('invalid-argument', `image reference ${quote(text)}: ${reason}`);
}
