import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type ImageId, parseDigest } from '../lib/ids.ts';
import { RecordDatabase } from '../lib/records.ts';
import type { ImageRecord } from './image-record.ts';
import { pinRule } from './pinning.ts';
import { ImageStore, resolveImage } from './store.ts';

const id = (digits: string): ImageId => parseDigest(`sha256:${digits.padEnd(64, '0')}`);

function record(
  digits: string,
  names: Partial<Pick<ImageRecord, 'repoTags' | 'repoDigests' | 'pulledAtMs'>>,
): ImageRecord {
  return {
    version: 1,
    id: id(digits),
    repoTags: [],
    repoDigests: [],
    sizeBytes: 1,
    config: {
      user: '',
      entrypoint: [],
      cmd: [],
      env: [],
      workingDir: '',
      volumes: [],
      stopSignal: '',
      labels: {},
      exposedPorts: [],
    },
    layers: [],
    os: 'linux',
    architecture: 'amd64',
    variant: undefined,
    created: undefined,
    pulledAtMs: 1,
    blobs: [],
    ...names,
  };
}

async function database(): Promise<{ open(): RecordDatabase } & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'gantry-store-'));
  stack.defer(() => rm(directory, { recursive: true }));
  return {
    open: () => stack.use(RecordDatabase.open(join(directory, 'state.db'))),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const tag = 'docker.io/library/app:v1';
const digest = `docker.io/library/app@sha256:${'d'.repeat(64)}`;

describe('resolveImage', () => {
  test('takes ids, digits, prefixes and every form of reference', async () => {
    await using files = await database();
    const store = new ImageStore(files.open(), () => false);
    store.commit(record('abc1', { repoTags: [tag], repoDigests: [digest] }));
    store.commit(record('abc2', {}));
    const found = (text: string): ImageId | undefined => resolveImage(store, text)?.id;
    for (const text of [
      id('abc1'),
      id('abc1').slice(7),
      'abc1',
      'sha256:abc1',
      'app:v1',
      'docker.io/app:v1',
      'index.docker.io/library/app:v1',
      `app@sha256:${'d'.repeat(64)}`,
      `app:other@sha256:${'d'.repeat(64)}`,
    ]) {
      assert.equal(found(text), id('abc1'), text);
    }
    for (const text of [
      'ab',
      'app',
      'app:v2',
      'abd',
      'sha512:abc1',
      '',
      '../x',
      'ABC1',
      id('f'),
      `sha256:${'d'.repeat(64)}`,
    ]) {
      assert.equal(found(text), undefined, text);
    }
    assert.throws(() => found('abc'), { kind: 'invalid-argument', message: /ambiguous/ });
  });

  test('a name wins over an id prefix', async () => {
    await using files = await database();
    const store = new ImageStore(files.open(), () => false);
    store.commit(record('abc1', {}));
    store.commit(record('def1', { repoTags: ['docker.io/library/abc:latest'] }));
    assert.equal(resolveImage(store, 'abc')?.id, id('def1'));
  });
});

describe('ImageStore', () => {
  test('a crash between the two writes of a moving tag leaves it to the image pulled last', async () => {
    await using files = await database();
    {
      const images = files.open().collection<ImageId, ImageRecord>('images', 1);
      images.put(
        id('aaa'),
        record('aaa', { repoTags: [tag, 'r.io/other:1'], repoDigests: [digest], pulledAtMs: 5 }),
      );
      images.put(id('bbb'), record('bbb', { repoTags: [tag], pulledAtMs: 9 }));
    }
    const store = new ImageStore(files.open(), () => false);
    assert.equal(resolveImage(store, 'app:v1')?.id, id('bbb'));
    assert.deepEqual(store.get(id('aaa'))?.repoTags, ['r.io/other:1']);
    assert.deepEqual(store.get(id('aaa'))?.repoDigests, [digest]);
  });

  test('a tag moves also when the clock went back', async () => {
    await using files = await database();
    const store = new ImageStore(files.open(), () => false);
    store.commit(record('aaa', { repoTags: [tag], pulledAtMs: 9 }));
    store.commit(record('bbb', { repoTags: [tag], pulledAtMs: 5 }));
    assert.deepEqual(store.get(id('aaa'))?.repoTags, []);
    assert.equal(store.byName(tag)?.id, id('bbb'));
    store.remove(id('aaa'));
    assert.equal(store.byName(tag)?.id, id('bbb'));
    store.remove(id('bbb'));
    store.remove(id('bbb'));
    assert.equal(store.byName(tag), undefined);
  });

  test('CVE-2026-53488: labels are data, names of the object prototype too', async () => {
    await using files = await database();
    const store = new ImageStore(files.open(), () => false);
    const labels = JSON.parse('{"__proto__":"x","constructor":"y","binary://":"z"}') as Record<
      string,
      string
    >;
    const base = record('aaa', { repoTags: [tag] });
    store.commit({ ...base, config: { ...base.config, labels } });
    assert.equal(store.get(id('aaa'))?.config.labels['constructor'], 'y');
    assert.equal(resolveImage(store, '__proto__'), undefined);
  });
});

test('containerd#9793: pinned images are told as such', () => {
  const isPinned = pinRule(['busybox', 'registry.k8s.io/pause:*', `r.io/a@sha256:${'1'.repeat(64)}`]);
  assert.ok(isPinned(['docker.io/library/busybox:latest']));
  assert.ok(isPinned(['x', 'registry.k8s.io/pause:3.10']));
  assert.ok(isPinned([`r.io/a@sha256:${'1'.repeat(64)}`]));
  assert.ok(
    !isPinned(['docker.io/library/busybox:1', 'registry.k8s.io/pauses:1', 'xregistry.k8s.io/pause:1']),
  );
  assert.ok(!isPinned([]));
  assert.throws(() => pinRule(['Not Valid']), { kind: 'invalid-argument' });
});
