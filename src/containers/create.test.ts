import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { type ImageId, newSandboxId } from '../lib/ids.ts';
import { temporaryDatabase } from '../lib/testing/temporary-database.ts';
import { type Sandbox, openSandboxStore } from '../sandbox/sandbox.ts';
import { type Container, openContainerStore, processesOf } from './container.ts';
import { createContainer } from './create.ts';
import type { ContainerDeps } from './deps.ts';
import { sampleContainer } from './spec/testing/sample-input.ts';

const processes = { process: { pid: 1, startTicks: '1' }, monitor: { pid: 2, startTicks: '2' } };
const nothing = async (): Promise<void> => {};

/** Drivers that only say what they are asked, around real stores with one ready pod. */
function deps(t: TestContext, said: string[]): { deps: ContainerDeps; sandboxId: string } {
  const { directory, database } = temporaryDatabase(t);
  const onError = (error: unknown): void => assert.fail(String(error));
  const sandboxes = openSandboxStore(database, onError);
  const id = newSandboxId();
  const state = { name: 'ready', ips: [], namespaces: {} } as const;
  const metadata = { name: 'p', uid: 'u', namespace: 'default', attempt: 0 };
  sandboxes.add({
    version: 1,
    id,
    createdAtNs: '1',
    config: { metadata, namespaces: {} },
    state,
  } as unknown as Sandbox);
  const rootfs = join(directory, 'rootfs');
  mkdirSync(rootfs);
  const made = {
    store: openContainerStore(database, onError),
    sandboxes,
    stateDirectory: directory,
    bootId: 'boot',
    images: {
      resolve: () => ({ id: 'sha256:1' as ImageId, config: {} }),
      prepareSnapshot: async () => ({ rootfs }),
      unmountSnapshot: nothing,
      removeSnapshot: nothing,
    },
    checkpoints: { directory, sources: { directories: [], images: false } },
    mounts: {
      resolve: async () => [],
      bind: async (spec: unknown) => spec,
      unbind: nothing,
      release: nothing,
    },
    volumes: { prepare: async () => [], remove: nothing },
    spec: { build: async () => ({ spec: {}, user: { uid: 0, gid: 0, supplementalGroups: [] } }) },
    cgroups: { expectContainers: () => undefined, pathFor: () => '/pod/c', destroy: nothing },
    plugins: { creating: async (draft: unknown) => draft, abandoned: () => undefined },
    runtime: {
      startMonitor: () => {
        let isNeeded = false;
        return {
          create: async () => {
            isNeeded = true;
            return processes;
          },
          [Symbol.asyncDispose]: async () =>
            void said.push(isNeeded ? 'leave the monitor' : 'end the monitor'),
        };
      },
      delete: async (container: Parameters<ContainerDeps['runtime']['delete']>[0]) =>
        void said.push(`delete, knowing ${JSON.stringify(processesOf(container))}`),
    },
    exits: { watch: () => said.push('watch'), forget: () => said.push('forget its exit') },
  };
  return { deps: made as unknown as ContainerDeps, sandboxId: id };
}

test('a container whose record cannot be written is undone with its processes, before its exit is forgotten', async (t) => {
  const said: string[] = [];
  const { deps: given, sandboxId } = deps(t, said);
  t.mock.method(given.store, 'update', () => {
    throw new Error('disk is full');
  });
  const request = { sandboxId, config: sampleContainer };
  await assert.rejects(createContainer(given, request, new AbortController().signal), /disk is full/);
  assert.deepEqual(said, [
    'leave the monitor',
    `delete, knowing ${JSON.stringify(processes)}`,
    'forget its exit',
  ]);
  assert.deepEqual(given.store.all(), []);
});

test('a container that cannot be prepared ends the monitor that waits for it, before anything of it is undone', async (t) => {
  const said: string[] = [];
  const { deps: given, sandboxId } = deps(t, said);
  t.mock.method(given.spec, 'build', async () => {
    throw new Error('no such user');
  });
  const request = { sandboxId, config: sampleContainer };
  await assert.rejects(createContainer(given, request, new AbortController().signal), /no such user/);
  assert.deepEqual(said, ['end the monitor', 'delete, knowing undefined', 'forget its exit']);
  assert.deepEqual(given.store.all(), []);
});

test('the images that are mounted are recorded as what their names meant then', async (t) => {
  const { deps: given, sandboxId } = deps(t, []);
  t.mock.method(given.images, 'resolve', (name: string) =>
    name === 'gone' ? undefined : { id: `sha256:${name}` as ImageId, config: {} },
  );
  const create = async (...names: readonly (string | undefined)[]): Promise<Container> => {
    const mounts = names.map((name, index) => ({
      containerPath: `/data/${index}`,
      hostPath: name === undefined ? '/srv' : undefined,
      readonly: true,
      selinuxRelabel: false,
      propagation: 'private' as const,
      uidMappings: [],
      gidMappings: [],
      recursiveReadOnly: false,
      imageSubPath: undefined,
      image: name === undefined ? undefined : { reference: name, annotations: {} },
    }));
    const config = { ...sampleContainer, mounts };
    return await createContainer(given, { sandboxId, config }, new AbortController().signal);
  };
  await assert.rejects(create('gone'), /image "gone" is not on this node/);
  assert.deepEqual(given.store.all(), []);
  const { mountedImages } = await create(undefined, 'data', 'model');
  assert.deepEqual(mountedImages, { 1: 'sha256:data', 2: 'sha256:model' });
});
