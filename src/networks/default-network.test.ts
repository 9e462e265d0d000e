import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { requirePrefix } from '../lib/ip-address.ts';
import { DefaultNetwork, type DefaultNetworkOptions } from './default-network.ts';

function fixture(
  t: TestContext,
  options: Partial<DefaultNetworkOptions> & { readonly used?: readonly string[] } = {},
) {
  const cacheDir = mkdtempSync(join(tmpdir(), 'gantry-default-'));
  t.after(() => rmSync(cacheDir, { recursive: true }));
  const discarded: string[] = [];
  const used = (options.used ?? []).map((text) => ({
    prefix: requirePrefix(text, 'used'),
    linkName: 'eth0',
  }));
  const open = (more: Partial<DefaultNetworkOptions> = {}) =>
    new DefaultNetwork({
      cacheDir,
      usedPrefixes: async () => used,
      inUse: () => [],
      alone: async (_signal, work) => await work(),
      discardBridge: async (name) => void discarded.push(name),
      ...options,
      ...more,
    });
  return { open, discarded, cacheDir };
}

async function subnetsOf(network: DefaultNetwork): Promise<unknown[]> {
  const ipam = (await network.list()).plugins[0]?.['ipam'] as { ranges: { subnet: string }[][] };
  return ipam.ranges.map(([range]) => range?.subnet);
}

test('the built-in network is a bridge with masquerade and host ports', async (t) => {
  const { open, cacheDir } = fixture(t, { subnets: '10.88.0.0/16,fd00:88::/64' });
  const list = await open().list();
  assert.equal(list.name, 'gantry0');
  assert.deepEqual(list.plugins, [
    {
      type: 'bridge',
      bridge: 'gantry0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.88.0.0/16' }], [{ subnet: 'fd00:88::/64' }]],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
        dataDir: join(cacheDir, 'networks'),
      },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ]);
});

test('a subnet that a route of the host uses is not taken', async (t) => {
  assert.deepEqual(await subnetsOf(fixture(t).open()), ['10.88.0.0/16']);
  assert.deepEqual(
    await subnetsOf(fixture(t, { used: ['10.88.7.0/24', '10.89.0.0/16', 'fd00::/8'] }).open()),
    ['10.90.0.0/16'],
  );
  assert.deepEqual(await subnetsOf(fixture(t, { used: ['10.0.0.0/8'] }).open()), ['172.28.0.0/16']);
  await assert.rejects(
    async () =>
      await fixture(t, { used: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'] })
        .open()
        .list(),
    { kind: 'failed-precondition', message: /in use by a route/ },
  );
});

test('the choice outlives the daemon while a pod is in it, and is made anew when none is', async (t) => {
  const { open, discarded, cacheDir } = fixture(t, { subnets: '10.50.0.0/16,fd50::/64' });
  const { document: config } = await open().list();
  const inUse = () => [
    { networkName: 'other', config: '{}' },
    { networkName: 'gantry0', config },
  ];
  const later = { subnets: '10.60.0.0/16', inUse };
  assert.deepEqual(await subnetsOf(open(later)), ['10.50.0.0/16', 'fd50::/64']);
  const bridge = { prefix: requirePrefix('10.50.0.0/16', 'bridge'), linkName: 'gantry0' };
  assert.deepEqual((await subnetsOf(open({ usedPrefixes: async () => [bridge] })))[0], '10.50.0.0/16');
  const taken = { ...bridge, linkName: 'vpn0' };
  assert.deepEqual(
    (await subnetsOf(open({ ...later, usedPrefixes: async () => [taken] })))[0],
    '10.50.0.0/16',
  );
  assert.deepEqual((await subnetsOf(open({ usedPrefixes: async () => [taken] })))[0], '10.89.0.0/16');
  assert.deepEqual(await subnetsOf(open({ subnets: '10.60.0.0/16' })), ['10.60.0.0/16']);
  // The records of the attachments are the only place where it is kept.
  assert.deepEqual([readdirSync(cacheDir), discarded], [[], []]);
});

test('a choice that an older release kept in a file holds no longer than its pods', async (t) => {
  const { open, cacheDir } = fixture(t);
  const path = join(cacheDir, 'gantry-default-network.json');
  writeFileSync(path, JSON.stringify({ number: 0, subnets: ['10.50.0.0/16'], isAssigned: false }));
  assert.deepEqual(await subnetsOf(open()), ['10.88.0.0/16']);
  assert.deepEqual(readdirSync(cacheDir), []);
});

test('the pod CIDR moves the network; pods that are attached keep their bridge', async (t) => {
  const { open, discarded, cacheDir } = fixture(t);
  const network = open();
  await network.list();
  assert.equal((await network.assign(['10.244.3.0/24', 'fd00:3::/64'])).name, 'gantry0');
  assert.deepEqual([await subnetsOf(network), discarded], [['10.244.3.0/24', 'fd00:3::/64'], ['gantry0']]);
  const inUse = () => [{ networkName: 'gantry0', config: '' }];
  assert.equal((await open({ inUse }).assign(['10.244.3.0/24', 'fd00:3::/64'])).name, 'gantry0');
  const moved = open({ inUse });
  assert.equal((await moved.assign(['10.244.9.7/24'])).name, 'gantry1');
  assert.deepEqual([await subnetsOf(open()), discarded.length], [['10.244.9.0/24'], 1]);
  assert.equal(
    (JSON.parse(readFileSync(join(cacheDir, 'gantry-default-network.json'), 'utf8')) as { number: number })
      .number,
    1,
  );
});

test('a damaged file is chosen anew, a CIDR without room is refused', async (t) => {
  const { open, cacheDir } = fixture(t);
  writeFileSync(join(cacheDir, 'gantry-default-network.json'), '{"number":');
  assert.equal((await open().list()).name, 'gantry0');
  await assert.rejects(async () => await open().assign(['10.0.0.0/31']), {
    kind: 'invalid-argument',
    message: /no room/,
  });
  await assert.rejects(async () => await open({ subnets: 'lan' }).assign(['lan']), {
    kind: 'invalid-argument',
  });
});
