/** Registration, the order of events, and what becomes of plugins that misbehave, over real sockets. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  ConfigureResponse,
  CreateContainerResponse,
  UpdateContainersRequest,
  ValidateContainerAdjustmentResponse,
} from '../gen/nri/v1alpha1/api.ts';
import { isKind } from '../lib/errors.ts';
import { listenForPlugins } from './listen.ts';
import type { PluginSet } from './plugin-set.ts';
import { container, engine, fail, noted, pod, signal, until } from './testing/engine.ts';
import { TestPlugin, type Answers } from './testing/plugin.ts';
import { RemoteError } from './ttrpc/status.ts';

const createOn = async (plugins: PluginSet, id = 'c1') =>
  await plugins.createContainer({ pod, container: container(id) }, { signal });

test('the socket and its directory are root’s alone; one that others may replace, or that is served, is refused', async (t) => {
  const { socket } = await engine(t);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  assert.equal(statSync(join(socket, '..')).mode & 0o777, 0o700);
  await assert.rejects(listenForPlugins(socket, fail, fail), /another engine serves plugins/);
  const open = mkdtempSync(join(tmpdir(), 'gantry-nri-'));
  t.after(() => rmSync(open, { recursive: true }));
  chmodSync(open, 0o777);
  await assert.rejects(listenForPlugins(join(open, 'nri.sock'), fail, fail), /others than root/);
});

test('a socket file that a dead engine left is taken over', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-nri-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'd'), { mode: 0o700 });
  const path = join(directory, 'd', 'nri.sock');
  const dead = createServer().listen(path);
  await new Promise((resolve) => dead.once('listening', resolve));
  dead.unref();
  // Closing would remove the file: a killed engine leaves it.
  const handle = (dead as unknown as { _handle: { close(done: () => void): void } })._handle;
  await new Promise<void>((resolve) => handle.close(resolve)).catch(() => undefined);
  await using _ = await listenForPlugins(path, fail, fail);
});

test('a plugin registers, is configured and synchronised, and hears events in the order of indices', async (t) => {
  const { plugins, connect } = await engine(t);
  const heard: string[] = [];
  const hears = (label: string): Answers => ({ runPodSandbox: () => noted(heard, label) });
  const late = connect('90', 'late', hears('90-late'));
  await until(() => late.told.includes('synchronize'));
  const early = connect('10', 'early', hears('10-early'));
  await until(() => early.told.includes('synchronize'));
  await plugins.ask('runPodSandbox', async () => ({ pod }));
  assert.deepEqual(heard, ['10-early', '90-late']);
  assert.deepEqual(early.told, ['configure', 'synchronize', 'runPodSandbox']);
});

test('only what a plugin subscribes to reaches it', async (t) => {
  const { plugins, connect } = await engine(t);
  const plugin = connect('00', 'pods', {
    configure: () => ConfigureResponse.fromPartial({ events: 1 }),
    runPodSandbox: () => ({}),
    stopPodSandbox: () => ({}),
  });
  await until(() => plugin.told.includes('synchronize'));
  await plugins.ask('runPodSandbox', async () => ({ pod }));
  await plugins.tell('stopPodSandbox', async () => ({ pod }));
  assert.deepEqual(plugin.told, ['configure', 'synchronize', 'runPodSandbox']);
});

const misfits: readonly [string, [string, string], Answers][] = [
  ['an index that is not two digits', ['1', 'name'], {}],
  ['a name with a slash', ['00', 'a/b'], {}],
  [
    'events that do not exist',
    ['00', 'a'],
    { configure: () => ConfigureResponse.fromPartial({ events: 1 << 20 }) },
  ],
  ['a refused configuration', ['00', 'a'], { configure: () => Promise.reject(new Error('no')) }],
  ['a refused synchronisation', ['00', 'a'], { synchronize: () => Promise.reject(new Error('no')) }],
  ['a synchronisation without end', ['00', 'a'], { synchronize: async () => await new Promise(() => {}) }],
];

for (const [what, [index, name], answers] of misfits) {
  test(`not taken up, and disconnected: ${what}`, async (t) => {
    const { plugins, connect } = await engine(t);
    const plugin = connect(index, name, answers);
    await new Promise((resolve) => plugin.socket.once('close', resolve));
    await until(() => plugins.isEmpty);
  });
}

test('one that connects and says nothing, or nonsense, is disconnected', async (t) => {
  const { socket } = await engine(t);
  using silent = new TestPlugin(socket, {});
  await new Promise((resolve) => silent.socket.once('close', resolve));
  using loud = new TestPlugin(socket, {});
  loud.socket.write(Buffer.alloc(100, 0xff));
  await new Promise((resolve) => loud.socket.once('close', resolve));
});

test('a refusal stops the request with the plugin’s words, and the plugin stays', async (t) => {
  const { plugins, connect } = await engine(t);
  const plugin = connect('00', 'strict', { createContainer: () => Promise.reject(new Error('not today')) });
  await until(() => plugin.told.includes('synchronize'));
  await assert.rejects(
    createOn(plugins),
    (error) =>
      isKind(error, 'failed-precondition') &&
      /00-strict refused createContainer: not today/.test(String(error)),
  );
  assert.equal(plugins.isEmpty, false);
});

test('a plugin that hangs is disconnected once, and the request goes on without it', async (t) => {
  const { plugins, connect } = await engine(t);
  const hung = connect('00', 'hung', { createContainer: async () => await new Promise(() => {}) });
  await until(() => hung.told.includes('synchronize'));
  const answers = await Promise.all([createOn(plugins, 'c1'), createOn(plugins, 'c2')]);
  assert.deepEqual(
    answers.map(({ adjust }) => adjust),
    [undefined, undefined],
  );
  assert.equal(hung.told.filter((method) => method === 'createContainer').length, 1);
  await until(() => plugins.isEmpty);
});

test('one that hangs again and again is told to stay away for a while', async (t) => {
  const { plugins, connect, socket } = await engine(t, { requestTimeoutMs: 30 });
  for (let count = 0; count < 3; count += 1) {
    const hung = connect('00', 'hung', { createContainer: async () => await new Promise(() => {}) });
    await until(() => hung.told.includes('synchronize'));
    await createOn(plugins);
    await until(() => plugins.isEmpty);
  }
  using again = new TestPlugin(socket, {});
  await assert.rejects(again.register('00', 'hung'), /may register in \d+ s/);
  const other = connect('01', 'other');
  await until(() => other.told.includes('synchronize'));
});

test('a plugin that dies in the middle of a call does not fail the request', async (t) => {
  const { plugins, connect } = await engine(t);
  const dying: TestPlugin = connect('00', 'dying', {
    createContainer: async () => {
      dying.socket.destroy();
      return await new Promise(() => {});
    },
  });
  await until(() => dying.told.includes('synchronize'));
  assert.equal((await createOn(plugins)).adjust, undefined);
});

test('an answer that is no message disconnects, and the request goes on without the plugin', async (t) => {
  const { plugins, connect } = await engine(t);
  // A field of 127 bytes, of which none follows.
  const odd = connect('00', 'odd', { createContainer: () => Buffer.from([0x0a, 0x7f]) });
  await until(() => odd.told.includes('synchronize'));
  assert.equal((await createOn(plugins)).adjust, undefined);
  await until(() => plugins.isEmpty);
});

test('a plugin made before NRI 0.12 hears of events as state changes', async (t) => {
  const { plugins, connect } = await engine(t);
  const events: number[] = [];
  const old = connect('00', 'old', { stateChange: ({ event }) => noted(events, event) });
  await until(() => old.told.includes('synchronize'));
  await plugins.ask('runPodSandbox', async () => ({ pod }));
  await plugins.ask('runPodSandbox', async () => ({ pod }));
  await plugins.ask('startContainer', async () => ({ pod, container: container() }));
  await createOn(plugins);
  assert.deepEqual(events, [1, 1, 6]);
});

test('what plugins ask for is collected, each seeing what the others asked', async (t) => {
  const { plugins, connect } = await engine(t);
  const first = connect('00', 'first', {
    createContainer: () =>
      CreateContainerResponse.fromPartial({
        adjust: { env: [{ key: 'B', value: '2' }] },
        evict: [{ containerId: 'c9', reason: 'room' }],
      }),
  });
  const seen: string[][] = [];
  const second = connect('01', 'second', {
    createContainer: (request) => {
      seen.push(request.container?.env ?? []);
      return CreateContainerResponse.fromPartial({
        update: [{ containerId: 'c2', linux: { resources: { cpu: { cpus: '1' } } } }],
      });
    },
  });
  await until(() => first.told.includes('synchronize') && second.told.includes('synchronize'));
  const { adjust, updates, evictions } = await createOn(plugins);
  assert.deepEqual(seen, [['A=1', 'B=2']]);
  assert.deepEqual(adjust?.env, [{ key: 'B', value: '2' }]);
  assert.deepEqual(
    updates.map(({ containerId }) => containerId),
    ['c2'],
  );
  assert.deepEqual(
    evictions.map(({ containerId }) => containerId),
    ['c9'],
  );
});

test('a validator sees the container as it was, the changes and their makers, and may reject them', async (t) => {
  const { plugins, connect } = await engine(t);
  const maker = connect('00', 'maker', {
    createContainer: () => CreateContainerResponse.fromPartial({ adjust: { annotations: { a: '1' } } }),
  });
  let verdict = false;
  const validator = connect('99', 'judge', {
    configure: () => ConfigureResponse.fromPartial({ events: 1 << 13 }),
    validateContainerAdjustment: (request) => {
      assert.deepEqual(request.container?.annotations, {});
      assert.deepEqual(request.adjust?.annotations, { a: '1' });
      assert.deepEqual(request.owners?.owners['c1']?.compound[1]?.owners, { a: '00-maker' });
      assert.deepEqual(request.plugins, [{ name: 'maker', index: '00' }]);
      return ValidateContainerAdjustmentResponse.fromPartial({ reject: verdict, reason: 'no annotations' });
    },
  });
  await until(() => maker.told.includes('synchronize') && validator.told.includes('synchronize'));
  assert.deepEqual((await createOn(plugins)).adjust?.annotations, { a: '1' });
  verdict = true;
  await assert.rejects(createOn(plugins), /99-judge refused validateContainerAdjustment: no annotations/);
});

test('a validator that hangs has not agreed', async (t) => {
  const { plugins, connect } = await engine(t);
  const validator = connect('99', 'judge', {
    configure: () => ConfigureResponse.fromPartial({ events: 1 << 13 }),
    validateContainerAdjustment: async () => await new Promise(() => {}),
  });
  await until(() => validator.told.includes('synchronize'));
  await assert.rejects(createOn(plugins), /it did not answer/);
});

test('a request that is given up while it waits for its turn does not reach the plugins', async (t) => {
  const { plugins, connect } = await engine(t, { requestTimeoutMs: 5000 });
  const hold = Promise.withResolvers<void>();
  const plugin = connect('00', 'slow', {
    createContainer: async () => {
      await hold.promise;
      return CreateContainerResponse.fromPartial({});
    },
  });
  await until(() => plugin.told.includes('synchronize'));
  const first = createOn(plugins);
  await until(() => plugin.told.includes('createContainer'));
  const gone = new AbortController();
  const second = plugins.createContainer({ pod, container: container('c2') }, { signal: gone.signal });
  gone.abort(new Error('the client left'));
  await assert.rejects(second, /the client left/);
  hold.resolve();
  await first;
  assert.equal(plugin.told.filter((method) => method === 'createContainer').length, 1);
});

test('a request for more updates than a node has containers is refused whole', async (t) => {
  let applied = 0;
  const { connect } = await engine(t, {
    apply: async ({ updates, evictions }) => {
      applied += updates.length + evictions.length;
      return [];
    },
  });
  const plugin = connect('00', 'flooding');
  await until(() => plugin.told.includes('synchronize'));
  const of = (count: number) => Array.from({ length: count }, () => ({ containerId: 'c2' }));
  const request = UpdateContainersRequest.fromPartial({ update: of(500), evict: of(501) });
  await assert.rejects(plugin.updateContainers(request), /more than 1000 updates at once/);
  assert.equal(applied, 0);
  await plugin.updateContainers(UpdateContainersRequest.fromPartial({ update: of(500), evict: of(500) }));
  assert.equal(applied, 1000);
});

test('a plugin asks for updates by itself, once it has been configured', async (t) => {
  const { socket, connect } = await engine(t, { apply: async ({ updates }) => [...updates] });
  using early = new TestPlugin(socket, {});
  const request = UpdateContainersRequest.fromPartial({ update: [{ containerId: 'c2' }] });
  await assert.rejects(early.updateContainers(request), (error) => error instanceof RemoteError);
  const plugin = connect('00', 'active');
  await until(() => plugin.told.includes('synchronize'));
  const { failed } = await plugin.updateContainers(request);
  assert.deepEqual(
    failed.map(({ containerId }) => containerId),
    ['c2'],
  );
});
