/** Computing and checking digests. */
import { createHash, type Hash } from 'node:crypto';
import { EngineError } from '../lib/errors.ts';
import { type Digest, parseDigest } from '../lib/ids.ts';

export type DigestAlgorithm = 'sha256' | 'sha512';

export function digestOf(bytes: Buffer, algorithm: DigestAlgorithm): Digest {
  return parseDigest(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`);
}

/** @throws EngineError data-loss with both digests */
export function checkDigest(bytes: Buffer, expected: Digest, what: string): void {
  checkHash(hashFor(expected).update(bytes), expected, what);
}

/** The hash that bytes of this digest must be fed to. */
export function hashFor(digest: Digest): Hash {
  return createHash(digest.slice(0, digest.indexOf(':')));
}

/** Ends `hash`. @throws EngineError data-loss with both digests */
export function checkHash(hash: Hash, expected: Digest, what: string): void {
  const actual = `${expected.slice(0, expected.indexOf(':'))}:${hash.digest('hex')}`;
  if (actual !== expected) {
    throw new EngineError('data-loss', `${what}: digest mismatch: expected ${expected}, got ${actual}`);
  }
}
