import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Digest, parseDigest } from '../lib/ids.ts';
import { ContentStore } from './content-store.ts';

const bytes = Buffer.from('a manifest');
const digestOf = (content: Buffer, algorithm = 'sha256'): Digest =>
  parseDigest(`${algorithm}:${createHash(algorithm).update(content).digest('hex')}`);

async function directory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-content-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('writes once, reads verified, counts, forgets', async () => {
  await using root = await directory();
  const store = await ContentStore.open(root.path);
  for (const digest of [digestOf(bytes), digestOf(bytes, 'sha512')]) {
    await Promise.all([store.write(digest, bytes), store.write(digest, bytes)]);
    assert.deepEqual(await store.read(digest), bytes);
  }
  assert.deepEqual(store.usage, { bytes: bytes.length * 2, inodes: 2 });
  assert.deepEqual(await readdir(join(root.path, 'ingest')), []);
  const again = await ContentStore.open(root.path);
  assert.deepEqual(await again.read(digestOf(bytes)), bytes);
  assert.equal(await again.removeUnless(digestOf(bytes), () => true), false);
  assert.equal(await again.removeUnless(digestOf(bytes), () => false), true);
  assert.equal(await again.removeUnless(digestOf(bytes), () => false), false);
  assert.equal(await again.read(digestOf(bytes)), undefined);
  assert.equal(again.has(digestOf(bytes)), false);
});

test('refuses bytes of another digest', async () => {
  await using root = await directory();
  const store = await ContentStore.open(root.path);
  await assert.rejects(store.write(digestOf(Buffer.from('other')), bytes), { kind: 'data-loss' });
  assert.deepEqual(store.digests(), []);
});

test('a crash leaves nothing half-stored, a damaged blob is as good as none, strange files do no harm', async () => {
  await using root = await directory();
  const digest = digestOf(bytes);
  await mkdir(join(root.path, 'ingest'), { recursive: true });
  await writeFile(join(root.path, 'ingest', 'torn'), 'a man');
  await mkdir(join(root.path, 'blobs', 'sha256'), { recursive: true });
  await writeFile(join(root.path, 'blobs', 'sha256', digest.slice(7)), 'a manifesto');
  await writeFile(join(root.path, 'blobs', 'sha256', 'README'), 'x');
  const store = await ContentStore.open(root.path);
  assert.deepEqual(await readdir(join(root.path, 'ingest')), []);
  assert.deepEqual(store.digests(), [digest]);
  assert.equal(await store.read(digest), undefined);
  await store.write(digest, bytes);
  assert.deepEqual(await store.read(digest), bytes);
});

test('CVE-2024-25621: directories and files are for the engine alone', async () => {
  await using root = await directory();
  const store = await ContentStore.open(join(root.path, 'images'));
  await store.write(digestOf(bytes), bytes);
  const mode = async (...parts: string[]): Promise<number> =>
    (await stat(join(root.path, ...parts))).mode & 0o777;
  assert.equal(await mode('images'), 0o700);
  assert.equal(await mode('images', 'ingest'), 0o700);
  assert.equal(await mode('images', 'blobs', 'sha256', digestOf(bytes).slice(7)), 0o600);
});

test('a directory that cannot be written is told by digest and cause', async () => {
  await using root = await directory();
  const store = await ContentStore.open(root.path);
  await rm(join(root.path, 'ingest'), { recursive: true });
  await assert.rejects(store.write(digestOf(bytes), bytes), /store blob sha256:\w{64}: ENOENT/);
  assert.deepEqual(store.digests(), []);
});
