/** Everything that a registry or a user may send is read or refused by an EngineError: thousands of damaged samples. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../lib/errors.ts';
import { parseImageConfig } from './image-config.ts';
import { parseManifest } from './manifest.ts';
import { ociConfig, ociIndex, ociManifest } from './media-types.ts';
import { canonicalString, parseReference } from './reference.ts';
import { parseChallenges } from './registry/challenge.ts';
import { proxyFor } from './registry/proxy.ts';
import { retryAfterMs } from './registry/retry.ts';

const rounds = 3000;
const digest = `sha256:${'a1'.repeat(32)}`;
const blob = { mediaType: ociConfig, digest, size: 7 };
const samples = {
  reference: [`registry.k8s.io:5000/a/b_c:v1.2@${digest}`, 'busybox', '[::1]:5000/x', 'localhost/app:1'],
  challenge: ['Bearer realm="https://a/t",service="s",scope="repository:a:pull", Basic realm=x'],
  manifest: [
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: blob,
      layers: [{ ...blob, urls: ['https://x'] }],
    }),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: [{ ...blob, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } }],
    }),
  ],
  config: [
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      config: { User: '0', Env: ['A=b'], Labels: { a: 'b' }, Volumes: { '/v': {} } },
      rootfs: { type: 'layers', diff_ids: [digest] },
    }),
  ],
};

/** A small generator with a fixed seed: a failure is found again. */
function randomFrom(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

const pieces = [
  '"',
  '\\',
  '{',
  '[',
  '}',
  ']',
  ':',
  '/',
  '@',
  '.',
  '..',
  '\0',
  '\r\n',
  '-1',
  '1e999',
  'null',
  'é',
  '\uD800',
  ' ',
  '%00',
  ',',
];

function damaged(text: string, random: (bound: number) => number): string {
  let result = text;
  for (let edits = 1 + random(4); edits > 0; edits -= 1) {
    const at = random(result.length + 1);
    const end = random(3) === 0 ? Math.min(result.length, at + random(12)) : at;
    result = result.slice(0, at) + (pieces[random(pieces.length)] ?? '') + result.slice(end);
  }
  return result;
}

function sendDamaged(name: string, texts: readonly string[], read: (text: string) => void): void {
  test(`damaged ${name}`, () => {
    const random = randomFrom(42);
    for (let round = 0; round < rounds; round += 1) {
      const text = damaged(texts[random(texts.length)] ?? '', random);
      try {
        read(text);
      } catch (error) {
        assert.ok(error instanceof EngineError, `${JSON.stringify(text)}: ${String(error)}`);
        assert.ok(error.message.length < 2000);
        assert.doesNotMatch(error.message, /[\0\r\n]/, JSON.stringify(text));
      }
    }
  });
}

sendDamaged('references', samples.reference, (text) => {
  const canonical = canonicalString(parseReference(text));
  assert.equal(canonicalString(parseReference(canonical)), canonical);
  assert.match(canonical, /^[\w.:@/[\]-]+$/);
});
sendDamaged('manifests', samples.manifest, (text) => {
  parseManifest(Buffer.from(text), { name: 'sample', contentType: undefined });
});
sendDamaged('configs', samples.config, (text) => {
  parseImageConfig(Buffer.from(text), 'sample');
});
sendDamaged('challenges', samples.challenge, (text) => {
  parseChallenges(text);
});
sendDamaged('proxy exceptions', ['10.0.0.0/8,.corp,[fd00::1]:5000,*.a.b:80'], (text) => {
  proxyFor(new URL('https://10.1.2.3:5000'), { https_proxy: 'p', no_proxy: text });
});
sendDamaged('Retry-After', ['120', 'Wed, 21 Oct 2026 07:28:00 GMT'], (text) => {
  const delayMs = retryAfterMs(text, 0);
  assert.ok(delayMs === undefined || delayMs >= 0);
});
