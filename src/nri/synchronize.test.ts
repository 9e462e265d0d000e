/** A plugin that joins is told of what exists, of all of it and of nothing twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container, CreateContainerResponse, SynchronizeResponse } from '../gen/nri/v1alpha1/api.ts';
import { chunksOf } from './synchronize.ts';
import { container, engine, pod, signal, until } from './testing/engine.ts';

test('a container that is begun while a plugin synchronises is told after that, once; one begun before is in the synchronisation', async (t) => {
  const begun: string[] = [];
  const { plugins, connect } = await engine(t, {
    requestTimeoutMs: 5000,
    registrationTimeoutMs: 5000,
    existing: async () => ({ pods: [pod], containers: begun.map((id) => container(id)) }),
  });
  const create = async (id: string) =>
    await plugins.createContainer(
      { pod, container: container(id) },
      { signal, begun: () => void begun.push(id) },
    );
  const hold = Promise.withResolvers<void>();
  const first = connect('00', 'first', {
    createContainer: async (request) => {
      if (request.container?.id === 'before') await hold.promise;
      return CreateContainerResponse.fromPartial({});
    },
  });
  await until(() => first.told.includes('synchronize'));
  const before = create('before');
  await until(() => first.told.includes('createContainer'));
  const release = Promise.withResolvers<void>();
  const synchronized: string[] = [];
  const created: string[] = [];
  const joining = connect('10', 'joining', {
    synchronize: async ({ containers }) => {
      synchronized.push(...containers.map(({ id }) => id));
      await release.promise;
      return SynchronizeResponse.fromPartial({});
    },
    createContainer: (request) => {
      created.push(request.container?.id ?? '');
      return CreateContainerResponse.fromPartial({});
    },
  });
  await until(() => joining.told.includes('synchronize'));
  const during = [create('during-1'), create('during-2')];
  hold.resolve();
  await before;
  await sleep(50);
  assert.deepEqual(created, [], 'nothing is told before the synchronisation has ended');
  release.resolve();
  await Promise.all(during);
  await create('after');
  assert.deepEqual(synchronized, ['before']);
  assert.deepEqual(created, ['during-1', 'during-2', 'after']);
});

test('what does not fit one message is told in several, pods first', () => {
  const args = ['x'.repeat(1024 * 1024)];
  const containers = Array.from({ length: 7 }, (_, index) =>
    Container.fromPartial({ id: `c${index}`, args }),
  );
  const chunks = chunksOf({ pods: [pod], containers });
  assert.deepEqual(
    chunks.map((chunk) => [chunk.pods.length, chunk.containers.length, chunk.more]),
    [
      [1, 2, true],
      [0, 2, true],
      [0, 2, true],
      [0, 1, false],
    ],
  );
  assert.deepEqual(chunksOf({ pods: [], containers: [] }).length, 1);
});

test('a plugin takes in a large node', async (t) => {
  const args = ['x'.repeat(1024 * 1024)];
  const containers = Array.from({ length: 7 }, (_, index) =>
    Container.fromPartial({ id: `c${index}`, args }),
  );
  const { connect } = await engine(t, {
    registrationTimeoutMs: 10_000,
    existing: async () => ({ pods: [pod], containers }),
  });
  const seen: string[] = [];
  const plugin = connect('00', 'large', {
    synchronize: ({ containers: some, more }) => {
      seen.push(...some.map(({ id }) => id));
      return SynchronizeResponse.fromPartial({ more });
    },
  });
  await until(() => plugin.told.filter((method) => method === 'synchronize').length === 4);
  assert.deepEqual(
    seen,
    containers.map(({ id }) => id),
  );
});
