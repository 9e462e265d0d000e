import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError } from '../lib/errors.ts';
import { parseNetworkList, type NetworkList } from './network-list.ts';
import { addNetwork, delNetwork, type CniDeps } from './network-operations.ts';
import { checkNetwork, gcNetwork, statusNetwork } from './network-upkeep.ts';
import type { CniResult, InProcessPlugin } from './plugin-types.ts';
import { AttachmentCache } from './result-cache.ts';
import { PluginScripts } from './testing/plugin-scripts.ts';

function listOf(document: object): NetworkList {
  const text = JSON.stringify({
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [{ type: 'first' }, { type: 'second' }],
    ...document,
  });
  return parseNetworkList({ source: 'test', text });
}

function attachmentOf(containerId: string) {
  return {
    containerId,
    netnsPath: '/proc/self/ns/net',
    ifName: 'eth0',
    cniArgs: { IgnoreUnknown: '1' },
    capabilityArgs: {},
  };
}

const add = async (deps: CniDeps, containerId: string, document: object = {}) =>
  await addNetwork(deps, { list: async () => listOf(document), attachment: attachmentOf(containerId) });

function cachedOf(deps: CniDeps, containerId: string) {
  const [cached] = deps.attachments.ofContainer(containerId);
  assert.ok(cached);
  return cached;
}

const cacheFiles = (scripts: PluginScripts) =>
  readdirSync(join(scripts.directory, 'cache', 'results')).sort();

test('ADD goes through the list and DEL comes back, with the result in the version of the list', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  const result = await add(deps, 'pod1', { cniVersion: '0.4.0' });
  assert.deepEqual([result.cniVersion, result.ips[0]?.address], ['1.1.0', '10.9.0.7/24']);
  assert.equal(scripts.request('first', 'ADD')['prevResult'], undefined);
  const chained = scripts.request('second', 'ADD');
  assert.deepEqual([chained['name'], chained['cniVersion'], chained['type']], ['net', '0.4.0', 'second']);
  const prevResult = chained['prevResult'] as { cniVersion: string; ips: { version: string }[] };
  assert.deepEqual([prevResult.cniVersion, prevResult.ips[0]?.version], ['0.4.0', '4']);
  assert.deepEqual(cacheFiles(scripts), ['net-pod1-eth0']);

  await delNetwork(deps, { attachment: cachedOf(deps, 'pod1') });
  assert.deepEqual(scripts.calls(), [
    'ADD first pod1',
    'ADD second pod1',
    'DEL second pod1',
    'DEL first pod1',
  ]);
  assert.deepEqual(scripts.request('first', 'DEL')['prevResult'], prevResult);
  assert.deepEqual(cacheFiles(scripts), []);
});

test('capability arguments reach only the plugins that declare them', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  const list = listOf({
    plugins: [{ type: 'first' }, { type: 'second', capabilities: { mac: true, ips: false } }],
  });
  await addNetwork(deps, {
    list: async () => list,
    attachment: {
      ...attachmentOf('pod1'),
      capabilityArgs: { mac: '02:00:00:00:00:09', ips: ['10.9.0.9/24'] },
    },
  });
  assert.equal(scripts.request('first', 'ADD')['runtimeConfig'], undefined);
  const { runtimeConfig, capabilities } = scripts.request('second', 'ADD');
  assert.deepEqual([runtimeConfig, capabilities], [{ mac: '02:00:00:00:00:09' }, undefined]);
});

test('a failed ADD undoes what was begun, in reverse, and leaves no record', async () => {
  using scripts = new PluginScripts('first', 'second', 'third');
  const deps = await scripts.deps();
  scripts.on('second', 'ADD', `echo '{"code":11,"msg":"no address left"}'; exit 1`);
  const document = { plugins: [{ type: 'first' }, { type: 'second' }, { type: 'third' }] };
  await assert.rejects(add(deps, 'pod1', document), {
    kind: 'unavailable',
    message: /plugin second, ADD of pod1: no address left/,
  });
  assert.deepEqual(scripts.calls(), [
    'ADD first pod1',
    'ADD second pod1',
    'DEL second pod1',
    'DEL first pod1',
  ]);
  assert.deepEqual(cacheFiles(scripts), []);
});

test('when the undoing fails too, the record stays and a later DEL finishes it', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  scripts.on('second', 'ADD', 'exit 1');
  scripts.on('first', 'DEL', 'exit 1');
  const failure = await add(deps, 'pod1').catch((error: unknown) => error);
  assert.match(
    EngineError.from(failure).message,
    /second, ADD of pod1: exit code 1; and undoing it failed: .*first, DEL of pod1/,
  );
  scripts.heal('first', 'DEL');
  // As after a restart of the daemon.
  const later = { ...deps, attachments: await AttachmentCache.open(join(scripts.directory, 'cache')) };
  await delNetwork(later, { attachment: cachedOf(later, 'pod1') });
  assert.deepEqual(cacheFiles(scripts), []);
});

test('a plugin that refuses its configuration in ADD and in DEL does not keep the address of the one before it', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  const refuse = `echo '{"code":7,"msg":"invalid port"}'; exit 1`;
  scripts.on('second', 'ADD', refuse);
  scripts.on('second', 'DEL', refuse);
  await assert.rejects(add(deps, 'pod1'), { kind: 'failed-precondition', message: /invalid port, code 7$/ });
  assert.deepEqual(scripts.calls().slice(2), ['DEL second pod1', 'DEL first pod1']);
  assert.deepEqual(cacheFiles(scripts), []);
});

test('a list with a plugin that is missing keeps no address either', async () => {
  using scripts = new PluginScripts('first');
  const deps = await scripts.deps();
  await assert.rejects(add(deps, 'pod1'), {
    kind: 'failed-precondition',
    message: /CNI plugin second is not in/,
  });
  assert.deepEqual(scripts.calls(), ['ADD first pod1', 'DEL first pod1']);
  assert.deepEqual(cacheFiles(scripts), []);
});

test('an attachment that cannot be recorded is undone', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  // After the first record is written its place cannot be replaced any more.
  scripts.on(
    'second',
    'ADD',
    'rm "$here/cache/results/net-pod1-eth0"; mkdir -p "$here/cache/results/net-pod1-eth0/x"',
  );
  const failure = await add(deps, 'pod1').catch((error: unknown) => error);
  assert.match(EngineError.from(failure).message, /record the network attachment .*net-pod1-eth0/);
  assert.deepEqual(scripts.calls().slice(2), ['DEL second pod1', 'DEL first pod1']);
});

test('a record exists before the first plugin runs, so that a crash leaves nothing without a name', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  scripts.on('first', 'ADD', 'cp -r "$here/cache/results" "$here/seen"');
  await add(deps, 'pod1');
  const seen = JSON.parse(readFileSync(join(scripts.directory, 'seen', 'net-pod1-eth0'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.deepEqual([seen['kind'], seen['containerId'], seen['result']], ['cniCacheV1', 'pod1', undefined]);
});

test('DEL stops at the first failure: an address is not given back while a port still leads to it', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  await add(deps, 'pod1');
  scripts.on('second', 'DEL', 'exit 1');
  await assert.rejects(delNetwork(deps, { attachment: cachedOf(deps, 'pod1') }), /second, DEL of pod1/);
  assert.deepEqual(scripts.calls().slice(2), ['DEL second pod1']);
  scripts.on('second', 'DEL', `echo '{"code":3,"msg":"unknown container"}'; exit 1`);
  await delNetwork(deps, { attachment: cachedOf(deps, 'pod1') });
  assert.deepEqual(scripts.calls(), ['DEL second pod1', 'DEL first pod1']);
});

test('DEL uses the configuration of the time of ADD, without a namespace that is gone', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  const gone = join(scripts.directory, 'netns');
  writeFileSync(gone, '');
  const list = listOf({ plugins: [{ type: 'first', mode: 'old' }] });
  await addNetwork(deps, {
    list: async () => list,
    attachment: { ...attachmentOf('pod1'), netnsPath: gone },
  });
  const attachment = cachedOf(deps, 'pod1');
  await delNetwork(deps, { attachment, current: listOf({}) });
  await delNetwork(deps, { attachment });
  assert.deepEqual(scripts.calls(), ['ADD first pod1', 'DEL first pod1']);
  assert.equal(scripts.request('first', 'DEL')['mode'], 'old');
  assert.ok(scripts.environment('first', 'DEL').includes('CNI_NETNS='));
});

test('a container is not attached twice to the same network', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  await add(deps, 'pod1');
  await assert.rejects(add(deps, 'pod1'), { kind: 'already-exists' });
});

test('several declared versions: the newest that every plugin speaks', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  scripts.on('second', 'VERSION', `echo '{"supportedVersions":["0.3.1","0.4.0"]}'; exit 0`);
  await add(deps, 'pod1', { cniVersion: '1.1.0', cniVersions: ['0.4.0', '1.0.0'] });
  assert.equal(scripts.request('first', 'ADD')['cniVersion'], '0.4.0');
  await assert.rejects(
    add(deps, 'pod2', { cniVersion: '1.1.0', cniVersions: ['1.0.0'] }),
    /no CNI version of 1\.0\.0, 1\.1\.0 is spoken/,
  );
});

test('never two operations on one container, GC alone', async () => {
  using scripts = new PluginScripts('first');
  const deps = await scripts.deps();
  const document = { plugins: [{ type: 'first' }] };
  // Each call leaves a mark while it runs; a call that finds a forbidden mark fails.
  scripts.on(
    'first',
    'ADD',
    'mkdir "$here/busy-$CNI_CONTAINERID" || exit 1; sleep 0.1; rmdir "$here/busy-$CNI_CONTAINERID"',
  );
  scripts.on('first', 'DEL', '[ -e "$here/busy-$CNI_CONTAINERID" ] && exit 1; true');
  scripts.on('first', 'GC', 'ls "$here" | grep -q busy- && exit 1; true');
  const first = add(deps, 'pod1', document);
  const second = add(deps, 'pod2', document);
  const removal = deps.gate
    .onContainer('pod1', undefined, async () => {})
    .then(async () => await delNetwork(deps, { attachment: cachedOf(deps, 'pod1') }));
  const collection = gcNetwork(deps, {
    list: listOf({ ...document, cniVersion: '1.1.0' }),
    isValid: () => true,
  });
  const [, , , failures] = await Promise.all([first, second, removal, collection]);
  assert.deepEqual(failures, []);
});

test('GC: DEL for every attachment that is not valid any more, then the plugins are told the valid ones', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  const list = listOf({ cniVersion: '1.1.0' });
  for (const id of ['stale', 'valid'])
    await addNetwork(deps, { list: async () => list, attachment: attachmentOf(id) });
  scripts.calls();
  scripts.on('first', 'GC', 'exit 1');
  const failures = await gcNetwork(deps, { list, isValid: ({ containerId }) => containerId === 'valid' });
  assert.deepEqual(scripts.calls(), ['DEL second stale', 'DEL first stale', 'GC first', 'GC second']);
  assert.deepEqual(scripts.request('second', 'GC')['cni.dev/valid-attachments'], [
    { containerID: 'valid', ifname: 'eth0' },
  ]);
  assert.match(String(failures[0]), /first, GC/);
  assert.deepEqual(cacheFiles(scripts), ['net-valid-eth0']);
  await gcNetwork(deps, { list: listOf({ cniVersion: '1.1.0', disableGC: true }), isValid: () => false });
  assert.deepEqual(scripts.calls(), ['DEL second valid', 'DEL first valid']);
});

test('GC leaves the attachments that another engine recorded in the same cache', async () => {
  using scripts = new PluginScripts('first', 'second');
  const directory = join(scripts.directory, 'cache', 'results');
  mkdirSync(directory, { recursive: true });
  const list = listOf({ cniVersion: '1.1.0' });
  const foreign = (containerId: string, netns: string) =>
    writeFileSync(
      join(directory, `net-${containerId}-eth0`),
      JSON.stringify({
        kind: 'cniCacheV1',
        containerId,
        config: Buffer.from(list.document).toString('base64'),
        ifName: 'eth0',
        networkName: 'net',
        netns,
        cniArgs: [['IgnoreUnknown', '1']],
        result: { cniVersion: '1.0.0', ips: [{ address: '10.9.0.8/24' }], dns: {} },
      }),
    );
  foreign('theirs', '/proc/self/ns/net');
  foreign('dead', '/run/netns/gone');
  writeFileSync(join(directory, 'net-broken-eth0'), '{');
  writeFileSync(join(directory, 'net-half-eth0.gantry-tmp'), '{');
  const deps = await scripts.deps();
  assert.match(deps.attachments.faults.join(), /net-broken-eth0/);
  assert.deepEqual(await gcNetwork(deps, { list, isValid: () => false }), []);
  assert.deepEqual(scripts.calls(), ['GC first', 'GC second']);
  assert.deepEqual(scripts.request('first', 'GC')['cni.dev/attachments'], [
    { containerID: 'theirs', ifname: 'eth0' },
  ]);
  assert.deepEqual(cacheFiles(scripts), ['net-broken-eth0', 'net-dead-eth0', 'net-theirs-eth0']);
  // But when asked by name, another engine's attachment is undone by its programs: a node may change its engine.
  await delNetwork(deps, { attachment: cachedOf(deps, 'theirs') });
  assert.deepEqual(scripts.calls(), ['DEL second theirs', 'DEL first theirs']);
});

test('CHECK asks in order with the result of ADD, unless the list disables it', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  await add(deps, 'pod1');
  await add(deps, 'pod2', { disableCheck: true });
  scripts.calls();
  await checkNetwork(deps, { attachment: cachedOf(deps, 'pod2') });
  assert.deepEqual(scripts.calls(), []);
  scripts.on('second', 'CHECK', `echo '{"code":100,"msg":"route is gone"}'; exit 1`);
  await assert.rejects(
    checkNetwork(deps, { attachment: cachedOf(deps, 'pod1') }),
    /second, CHECK of pod1: route is gone/,
  );
  assert.deepEqual(scripts.calls(), ['CHECK first pod1', 'CHECK second pod1']);
  assert.ok(scripts.request('first', 'CHECK')['prevResult']);
});

test('STATUS says which plugin is missing, too old, or not able to attach', async () => {
  using scripts = new PluginScripts('first', 'second');
  const deps = await scripts.deps();
  const list = listOf({ cniVersion: '1.1.0' });
  await statusNetwork(deps, { list });
  scripts.on('second', 'STATUS', `echo '{"code":50,"msg":"agent is down"}'; exit 1`);
  await assert.rejects(statusNetwork(deps, { list }), {
    kind: 'unavailable',
    pluginCode: 50,
    message: /second, STATUS: agent is down/,
  });
  await statusNetwork(deps, { list: listOf({}) });
  await assert.rejects(
    statusNetwork(deps, { list: listOf({ cniVersion: '0.3.1' }) }),
    /first does not speak version 0\.3\.1/,
  );
  await assert.rejects(
    statusNetwork(deps, { list: listOf({ plugins: [{ type: 'calico' }] }) }),
    /calico is not in/,
  );
});

const result: CniResult = {
  cniVersion: '1.1.0',
  interfaces: [],
  ips: [{ address: '10.9.0.1/24' }],
  routes: [],
  dns: {},
};

/** A plugin of this process that knows the key `mode` and notes its calls. */
function inProcess(type: string, calls: string[]): InProcessPlugin {
  return {
    type,
    supports: (config) => Object.keys(config).find((key) => !['type', 'mode', 'capabilities'].includes(key)),
    add: async (_, { containerId, prevResult }) => {
      calls.push(`add ${type} ${containerId}`);
      return prevResult ?? result;
    },
    del: async (_, { containerId }) => void calls.push(`del ${type} ${containerId}`),
    check: async () => {
      throw new Error('link is down');
    },
  };
}

test('the whole list runs in this process or by programs, and is undone by the same', async () => {
  using scripts = new PluginScripts('first', 'second');
  const calls: string[] = [];
  const plugins = [inProcess('first', calls), inProcess('second', calls)];
  const fast = await scripts.deps({ inProcess: plugins });
  await add(fast, 'pod1', { plugins: [{ type: 'first', mode: 'a' }, { type: 'second' }] });
  await add(fast, 'pod2', { plugins: [{ type: 'first', exotic: 1 }, { type: 'second' }] });
  assert.deepEqual(calls, ['add first pod1', 'add second pod1']);
  assert.deepEqual(scripts.calls(), ['ADD first pod2', 'ADD second pod2']);
  await assert.rejects(
    checkNetwork(fast, { attachment: cachedOf(fast, 'pod1') }),
    /network plugin first, CHECK: link is down/,
  );

  // A later daemon knows the exotic key too; pod2 is still undone by the programs that made it.
  const later = {
    ...fast,
    inProcess: plugins.map((plugin) => ({ ...plugin, supports: () => undefined })),
    attachments: await AttachmentCache.open(join(scripts.directory, 'cache')),
  };
  for (const id of ['pod1', 'pod2']) await delNetwork(later, { attachment: cachedOf(later, id) });
  assert.deepEqual(calls.slice(2), ['del second pod1', 'del first pod1']);
  assert.deepEqual(scripts.calls(), ['DEL second pod2', 'DEL first pod2']);
});

test('names that would leave the cache directory or the environment are refused', async () => {
  using scripts = new PluginScripts('first');
  const deps = await scripts.deps();
  const list = listOf({ plugins: [{ type: 'first' }] });
  for (const bad of [{ containerId: '../x' }, { ifName: 'eth0/..' }, { ifName: 'a'.repeat(16) }]) {
    await assert.rejects(
      addNetwork(deps, { list: async () => list, attachment: { ...attachmentOf('pod1'), ...bad } }),
      {
        kind: 'invalid-argument',
      },
    );
  }
  assert.equal(existsSync(join(scripts.directory, 'cache')), false);
});
