import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import type { PluginDeps } from '../cni/plugin-types.ts';
import { PluginScripts } from '../cni/testing/plugin-scripts.ts';
import type { RouteSocket } from '../linux/netlink/socket.ts';
import { openNetworks, type Networks, type NetworksOptions } from './networks.ts';

// A host without links and routes: what these tests ask of the kernel is nothing.
const emptyHost = { dump: () => [], query: () => undefined } as unknown as RouteSocket;

interface Fixture {
  readonly scripts: PluginScripts;
  readonly confDir: string;
  readonly leases: string;
  /** What was logged since the last look. */
  logged(): string;
  open(more?: Partial<NetworksOptions>): Promise<Networks>;
}

function fixture(t: TestContext): Fixture {
  const scripts = new PluginScripts('net', 'bridge', 'portmap');
  t.after(() => scripts[Symbol.dispose]());
  const confDir = join(scripts.directory, 'net.d');
  const cacheDir = join(scripts.directory, 'cache');
  let lines = '';
  const log = pino({ level: 'debug' }, { write: (line: string) => void (lines += line) });
  return {
    scripts,
    confDir,
    leases: join(cacheDir, 'networks'),
    logged: () => {
      const seen = lines;
      lines = '';
      return seen;
    },
    open: async (more = {}) => {
      const pluginDeps = { route: emptyHost } as PluginDeps;
      const networks = await openNetworks({
        plugins: [],
        pluginDeps,
        confDir,
        binDirs: [scripts.directory],
        cacheDir,
        log,
        ...more,
      });
      t.after(async () => await networks[Symbol.asyncDispose]());
      return networks;
    },
  };
}

function configure({ confDir }: Fixture, document: object = {}): void {
  mkdirSync(confDir, { recursive: true });
  const list = {
    cniVersion: '1.1.0',
    name: 'net',
    plugins: [{ type: 'net', capabilities: { portMappings: true } }],
    ...document,
  };
  writeFileSync(join(confDir, '10-net.conflist'), JSON.stringify(list));
}

const id = (digit: string): string => digit.repeat(64);
const request = (sandboxId: string) => ({
  sandboxId,
  netnsPath: '/proc/self/ns/net',
  pod: { name: 'web', namespace: 'default', uid: 'u1' },
  portMappings: [],
});

test('a pod is attached, found again after a restart, and detached from the record', async (t) => {
  const setup = fixture(t);
  configure(setup);
  const networks = await setup.open();
  assert.deepEqual(await networks.status(), { ready: true, reason: '', message: '' });
  assert.deepEqual(await networks.attach(request(id('a'))), { ips: ['10.9.0.7'], interfaceName: 'eth0' });
  const later = await setup.open();
  assert.deepEqual(later.attachmentOf(id('a')), { ips: ['10.9.0.7'], interfaceName: 'eth0' });
  await later.check(id('a'));
  await later.detach(id('a'));
  await later.detach(id('a'));
  assert.equal(later.attachmentOf(id('a')), undefined);
  assert.deepEqual(
    setup.scripts.calls().filter((call) => call.startsWith('DEL')),
    [`DEL net ${id('a')}`],
  );
  await assert.rejects(later.check(id('a')), { kind: 'not-found' });
});

test('NetworkReady says why it is false', async (t) => {
  const setup = fixture(t);
  configure(setup, { plugins: [{ type: 'cilium' }] });
  const missing = await (await setup.open()).status();
  assert.deepEqual([missing.ready, missing.reason], [false, 'NetworkPluginNotReady']);
  assert.match(missing.message, /CNI plugin cilium is not in/);
  configure(setup, { name: '' });
  const networks = await setup.open();
  assert.match(
    (await networks.status()).message,
    /no valid network configuration in .*10-net\.conflist: name: /,
  );
  await assert.rejects(networks.attach(request(id('a'))), {
    kind: 'unavailable',
    message: /10-net\.conflist/,
  });
  assert.match(setup.logged(), /network configuration is not usable/);
});

test('a verdict of ready is kept for a moment, one of not ready is asked again', async (t) => {
  const setup = fixture(t);
  configure(setup);
  const networks = await setup.open();
  setup.scripts.on('net', 'STATUS', `echo '{"code":50,"msg":"starting"}'; exit 1`);
  assert.match((await networks.status()).message, /starting/);
  setup.scripts.heal('net', 'STATUS');
  for (let index = 0; index < 3; index += 1) assert.equal((await networks.status()).ready, true);
  assert.equal(setup.scripts.calls().filter((call) => call.startsWith('STATUS')).length, 2);
});

test('a network that gives no address leaves nothing behind', async (t) => {
  const setup = fixture(t);
  configure(setup);
  setup.scripts.on('net', 'ADD', `echo '{"cniVersion":"1.0.0"}'; exit 0`);
  const networks = await setup.open();
  await assert.rejects(networks.attach(request(id('a'))), /network net gave pod sandbox a+ no address/);
  assert.deepEqual(
    setup.scripts.calls().filter((call) => !call.startsWith('VERSION')),
    [`ADD net ${id('a')}`, `DEL net ${id('a')}`],
  );
});

test('without any configuration the built-in network is used, and the pod CIDR moves it', async (t) => {
  const setup = fixture(t);
  const networks = await setup.open();
  assert.equal((await networks.status()).ready, true);
  await networks.attach(request(id('a')));
  assert.equal(setup.scripts.request('bridge', 'ADD')['bridge'], 'gantry0');
  await networks.setPodCidr(['10.244.1.0/24']);
  await networks.attach(request(id('b')));
  const { bridge, ipam } = setup.scripts.request('bridge', 'ADD') as {
    bridge: string;
    ipam: { ranges: unknown };
  };
  assert.deepEqual([bridge, ipam.ranges], ['gantry1', [[{ subnet: '10.244.1.0/24' }]]]);
  await networks.detach(id('a'));
  assert.equal(setup.scripts.request('bridge', 'DEL')['bridge'], 'gantry0');
});

test(
  'a node that wants no built-in network waits for a configuration, and takes it when it comes',
  { timeout: 60_000 },
  async (t) => {
    const setup = fixture(t);
    const networks = await setup.open({ defaultSubnets: '' });
    assert.match((await networks.status()).message, /no network configuration in .*net\.d$/);
    await networks.setPodCidr(['10.244.1.0/24']);
    await assert.rejects(networks.attach(request(id('a'))), { kind: 'unavailable' });
    configure(setup);
    while (!(await networks.status()).ready) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal((await networks.attach(request(id('a')))).ips.length, 1);
  },
);

test('the template is rendered when the pod CIDR is known, unless somebody configured the network', async (t) => {
  const setup = fixture(t);
  const templatePath = join(setup.scripts.directory, 'template');
  writeFileSync(
    templatePath,
    '{"cniVersion":"1.0.0","name":"made","plugins":[{"type":"net","subnet":"{{.PodCIDR}}"}]}',
  );
  const networks = await setup.open({ templatePath });
  assert.match((await networks.status()).message, /pod CIDR is not known yet/);
  await networks.setPodCidr(['10.244.1.0/24']);
  const rendered = join(setup.confDir, '10-gantry.conflist');
  assert.match(readFileSync(rendered, 'utf8'), /"subnet":"10\.244\.1\.0\/24"/);
  assert.equal((await networks.status()).ready, true);
  await networks.setPodCidr(['10.244.2.0/24']);
  assert.match(readFileSync(rendered, 'utf8'), /10\.244\.2\.0/);
  writeFileSync(templatePath, '{"name":"{{.Node}}"}');
  await assert.rejects(networks.setPodCidr(['10.244.3.0/24']), {
    kind: 'invalid-argument',
    message: /template .*"\.Node" is not known/,
  });
  writeFileSync(templatePath, '{"name":"made"}');
  await assert.rejects(networks.setPodCidr(['10.244.3.0/24']), /made from the template: cniVersion: missing/);
  assert.deepEqual(readdirSync(setup.confDir), ['10-gantry.conflist']);
  writeFileSync(join(setup.confDir, '05-own.conf'), '{"cniVersion":"1.0.0","name":"own","type":"net"}');
  await networks.setPodCidr(['10.244.4.0/24']);
  assert.match(readFileSync(rendered, 'utf8'), /10\.244\.2\.0/);
});

test('containernetworking/plugins#252, kubernetes#108121, k3s#5885: addresses of pods that are gone come back at the start', async (t) => {
  const setup = fixture(t);
  configure(setup);
  const before = await setup.open();
  for (const digit of ['a', 'b']) await before.attach(request(id(digit)));
  const lease = (network: string, address: string, owner: string) => {
    mkdirSync(join(setup.leases, network), { recursive: true });
    writeFileSync(join(setup.leases, network, address), owner === '' ? '' : `${owner}\r\neth0`);
  };
  lease('net', '10.9.0.7', id('a'));
  lease('net', '10.9.0.8', id('c'));
  lease('net', 'fd00::8', id('c'));
  lease('net', '10.9.0.9', '');
  lease('net', 'last_reserved_ip.0', '10.9.0.9');
  lease('gantry3', '10.88.0.2', id('c'));
  lease('other', '10.7.0.2', id('c'));
  setup.scripts.calls();

  const networks = await setup.open();
  await networks.attach(request(id('d')));
  lease('net', '10.9.0.10', id('d'));
  await networks.collectGarbage([id('a')]);
  assert.deepEqual(setup.scripts.calls(), [`ADD net ${id('d')}`, `DEL net ${id('b')}`, 'GC net']);
  assert.deepEqual(readdirSync(join(setup.leases, 'net')).sort(), [
    '10.9.0.10',
    '10.9.0.7',
    'last_reserved_ip.0',
    'lock',
  ]);
  assert.deepEqual(
    [existsSync(join(setup.leases, 'gantry3')), readdirSync(join(setup.leases, 'other'))],
    [false, ['10.7.0.2']],
  );
  assert.match(setup.logged(), /addresses of unknown containers given back/);
});

test('garbage of a network that is not configured any more goes by its own record, and what fails is kept and logged', async (t) => {
  const setup = fixture(t);
  configure(setup);
  await (await setup.open()).attach(request(id('a')));
  configure(setup, { name: 'newer', plugins: [{ type: 'portmap' }] });
  setup.scripts.on('net', 'DEL', 'echo still busy >&2; exit 1');
  mkdirSync(join(setup.leases, 'net'), { recursive: true });
  writeFileSync(join(setup.leases, 'net', '10.9.0.7'), id('a'));
  await (await setup.open()).collectGarbage([]);
  assert.match(setup.logged(), /network garbage is left.*still busy|still busy.*network garbage is left/);
  assert.equal(existsSync(join(setup.leases, 'net', '10.9.0.7')), true);
  setup.scripts.heal('net', 'DEL');
  const networks = await setup.open();
  await networks.collectGarbage([]);
  assert.equal(networks.attachmentOf(id('a')), undefined);
  assert.equal(existsSync(join(setup.leases, 'net', '10.9.0.7')), false);
});

test('a pod that comes while the pod CIDR is taken over joins the network that there is then', async (t) => {
  const setup = fixture(t);
  let attached: Promise<unknown> | undefined;
  const query = async (): Promise<undefined> => {
    attached ??= networks.attach(request(id('a')));
    await setImmediate();
  };
  const pluginDeps = { route: { dump: () => [], query } } as unknown as PluginDeps;
  const networks = await setup.open({ pluginDeps });
  await networks.status();
  // The kernel is asked for the bridge of the network that this ends.
  await networks.setPodCidr(['10.244.1.0/24']);
  assert.ok(attached !== undefined);
  await attached;
  const { ipam } = setup.scripts.request('bridge', 'ADD') as { ipam: { ranges: unknown } };
  assert.deepEqual(ipam.ranges, [[{ subnet: '10.244.1.0/24' }]]);
});

test('unpublished host ports are told', async (t) => {
  const setup = fixture(t);
  configure(setup, { plugins: [{ type: 'net' }] });
  const networks = await setup.open();
  await networks.attach({
    ...request(id('a')),
    portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 8080 }],
  });
  assert.match(setup.logged(), /no plugin of the network opens host ports/);
});
