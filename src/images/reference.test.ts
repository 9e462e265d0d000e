import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EngineError } from '../lib/errors.ts';
import {
  canonicalString,
  digestReference,
  familiarString,
  parseReference,
  tagReference,
} from './reference.ts';

const hex = '0123456789abcdef'.repeat(4);
const sha256 = `sha256:${hex}`;
const sha512 = `sha512:${hex}${hex}`;

const valid: readonly (readonly [input: string, canonical: string, familiar: string])[] = [
  ['busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
  ['busybox:1.36', 'docker.io/library/busybox:1.36', 'busybox:1.36'],
  ['library/busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
  ['docker.io/busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
  ['index.docker.io/busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
  ['index.docker.io/library/busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
  ['docker.io/library/foo/bar', 'docker.io/library/foo/bar:latest', 'library/foo/bar:latest'],
  ['user/app', 'docker.io/user/app:latest', 'user/app:latest'],
  ['registry.k8s.io/pause:3.10', 'registry.k8s.io/pause:3.10', 'registry.k8s.io/pause:3.10'],
  ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
  ['localhost:5000/app:v1', 'localhost:5000/app:v1', 'localhost:5000/app:v1'],
  ['127.0.0.1:5000/a/b/c', '127.0.0.1:5000/a/b/c:latest', '127.0.0.1:5000/a/b/c:latest'],
  ['[::1]:5000/app', '[::1]:5000/app:latest', '[::1]:5000/app:latest'],
  ['[2001:db8::1]/app', '[2001:db8::1]/app:latest', '[2001:db8::1]/app:latest'],
  ['EXAMPLE/app', 'EXAMPLE/app:latest', 'EXAMPLE/app:latest'],
  ['a.b-c.d/x_y/z--w/q__r/s.t', 'a.b-c.d/x_y/z--w/q__r/s.t:latest', 'a.b-c.d/x_y/z--w/q__r/s.t:latest'],
  [`busybox@${sha256}`, `docker.io/library/busybox@${sha256}`, `busybox@${sha256}`],
  [`busybox:1@${sha256}`, `docker.io/library/busybox:1@${sha256}`, `busybox:1@${sha256}`],
  [`h.io/a@${sha512}`, `h.io/a@${sha512}`, `h.io/a@${sha512}`],
  // A tag of 64 digits: only where ids are looked up does a bare digest mean an image.
  [sha256, `docker.io/library/sha256:${hex}`, `sha256:${hex}`],
  ['localhost', 'docker.io/library/localhost:latest', 'localhost:latest'],
  ['host:5000', 'docker.io/library/host:5000', 'host:5000'],
  [`docker.io/${hex}`, `docker.io/library/${hex}:latest`, `${hex}:latest`],
  [`${hex}:tag`, `docker.io/library/${hex}:tag`, `${hex}:tag`],
  [hex.slice(1), `docker.io/library/${hex.slice(1)}:latest`, `${hex.slice(1)}:latest`],
  [`a.io/${'p'.repeat(255)}`, `a.io/${'p'.repeat(255)}:latest`, `a.io/${'p'.repeat(255)}:latest`],
  [`a:${'t'.repeat(128)}`, `docker.io/library/a:${'t'.repeat(128)}`, `a:${'t'.repeat(128)}`],
];

const refused: readonly (readonly [input: string, reason: RegExp])[] = [
  ['', /empty/],
  [hex, /image id/],
  ['Busybox', /lower case/],
  ['a.io/Upper', /lower case/],
  [`a.io/${'p'.repeat(256)}`, /255/],
  [`a:${'t'.repeat(129)}`, /not a tag/],
  ['a:', /not a tag/],
  ['a:-b', /not a tag/],
  ['a:b:c', /not a tag/],
  ['a@', /digest/],
  ['a@sha256:abc', /digest/],
  [`a@sha256:${hex.toUpperCase()}`, /digest/],
  [`a@md5:${hex}`, /digest/],
  [`a@${sha256}@${sha256}`, /digest/],
  [`@${sha256}`, /not a repository/],
  ['../etc', /not a/],
  ['a.io/../b', /not a repository/],
  ['a.io//b', /not a repository/],
  ['a.io/b/', /not a repository/],
  ['/b', /not a/],
  ['a.io/-b', /not a repository/],
  ['a.io/b_', /not a repository/],
  ['a.io/b___c', /not a repository/],
  ['a.io/b..c', /not a repository/],
  ['-a.io/b', /registry host/],
  ['a..io/b', /registry host/],
  ['a.io:port/b', /registry host/],
  ['[::1/b', /registry host/],
  ['[fe80::1%25eth0]:5000/b', /registry host/],
  ['http://a.io/b', /not a|registry host/],
  ['a b', /not a repository/],
  ['a\n', /not a repository/],
  ['a.io/b?c=d', /not a repository/],
  ['a.io/b#c', /not a repository/],
  ['user@a.io/b', /digest/],
  ['a'.repeat(5000), /longer/],
];

describe('parseReference', () => {
  for (const [input, canonical, familiar] of valid) {
    test(`reads ${input.slice(0, 60)}`, () => {
      const ref = parseReference(input);
      assert.equal(canonicalString(ref), canonical);
      assert.equal(familiarString(ref), familiar);
      assert.deepEqual(parseReference(canonical), ref, 'the canonical text reads as itself');
      assert.deepEqual(
        parseReference(familiar === `${hex}:latest` ? canonical : familiar),
        ref,
        'and so does the familiar one',
      );
    });
  }
  for (const [input, reason] of refused) {
    test(`refuses ${JSON.stringify(input.slice(0, 60))}`, () => {
      assert.throws(
        () => parseReference(input),
        (error) =>
          error instanceof EngineError && error.kind === 'invalid-argument' && reason.test(error.message),
      );
    });
  }
});

test('a digest decides over a tag', () => {
  const ref = parseReference(`app:v1@${sha256}`);
  assert.equal(tagReference(ref), undefined);
  assert.equal(tagReference(parseReference('app:v1')), 'docker.io/library/app:v1');
  assert.equal(ref.digest && digestReference(ref, ref.digest), `docker.io/library/app@${sha256}`);
});
