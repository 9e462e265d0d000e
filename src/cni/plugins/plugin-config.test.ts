import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIp } from '../../lib/ip-address.ts';
import { parseBridgeConfig } from './bridge-config.ts';
import { completeAddresses } from './bridge-pod.ts';
import { candidates, parseHostLocalConfig } from './host-local-config.ts';
import { createInProcessPlugins } from './in-process-plugins.ts';
import { networkSuffix, ownerLabel } from './owner-label.ts';
import { mappingElements, parsePortmapConfig, podAddresses } from './port-mapping.ts';

const plugins = createInProcessPlugins();

function obstacle(config: Record<string, unknown>): string | undefined {
  return plugins
    .find(({ type }) => type === config['type'])
    ?.supports({ name: 'n', cniVersion: '1.0.0', ...config });
}

test('the fast path takes what it knows, and names what it does not', () => {
  const ipam = { type: 'host-local', subnet: '10.0.0.0/24' };
  assert.equal(obstacle({ type: 'loopback' }), undefined);
  assert.equal(
    obstacle({ type: 'bridge', isGateway: true, ipMasq: true, ipam, dns: {}, args: {} }),
    undefined,
  );
  assert.equal(obstacle({ type: 'bridge' }), undefined);
  assert.equal(obstacle({ type: 'bridge', isgateway: true }), 'isgateway');
  assert.equal(obstacle({ type: 'bridge', ipMasqBackend: 'iptables' }), 'ipMasqBackend=iptables');
  assert.equal(obstacle({ type: 'bridge', ipam: { type: 'dhcp' } }), 'ipam.type=dhcp');
  assert.equal(
    obstacle({ type: 'bridge', ipam: { ...ipam, daemonSocketPath: '/x' } }),
    'ipam.daemonSocketPath',
  );
  assert.equal(obstacle({ type: 'portmap', capabilities: { portMappings: true }, snat: true }), undefined);
  assert.equal(obstacle({ type: 'portmap', backend: 'iptables' }), 'backend="iptables"');
  assert.equal(obstacle({ type: 'portmap', conditionsV4: ['-d', '10.0.0.0/8'] }), 'conditionsV4');
});

test('keys of a bridge that contradict each other are refused by name', () => {
  const parse = (keys: object): unknown =>
    parseBridgeConfig({ config: { name: 'net1', type: 'bridge', ...keys }, args: {} });
  assert.throws(() => parse({ vlan: 4095 }), /network net1, plugin bridge: vlan/);
  assert.throws(() => parse({ hairpinMode: true, promiscMode: true }), /exclude each other/);
  assert.throws(
    () => parse({ ipam: { type: 'host-local' }, disableContainerInterface: true }),
    /allows no ipam/,
  );
  assert.throws(() => parse({ vlanTrunk: [{ minID: 5 }] }), /belong together/);
  assert.throws(() => parse({ vlanTrunk: [{ minID: 5, maxID: 3 }] }), /greater/);
  assert.throws(() => parse({ mtu: 'big' }), /mtu/);
  const { trunk, filtersVlans } = parseBridgeConfig({
    config: { name: 'n', vlanTrunk: [{ minID: 5, maxID: 7 }, { id: 6 }, { id: 2 }] },
    args: {},
  });
  assert.deepEqual([trunk, filtersVlans], [[2, 5, 6, 7], true]);
});

test('a MAC address comes from the runtime, the arguments or the environment, in this order', () => {
  const config = { name: 'n', runtimeConfig: { mac: 'a' }, args: { cni: { mac: 'b' } } };
  assert.equal(parseBridgeConfig({ config, args: { MAC: 'c' } }).mac, 'a');
  assert.equal(parseBridgeConfig({ config: { ...config, runtimeConfig: {} }, args: { MAC: 'c' } }).mac, 'b');
  assert.equal(parseBridgeConfig({ config: { name: 'n' }, args: { MAC: 'c' } }).mac, 'c');
});

test('gateways and default routes are completed for each family once', () => {
  const config = parseBridgeConfig({ config: { name: 'n', isDefaultGateway: true }, args: {} });
  const ipam = {
    ips: [{ address: '10.0.0.5/24' }, { address: 'fd00::5/64', gateway: 'fd00::9' }],
    routes: [],
  };
  const { ips, routes, gateways } = completeAddresses(config, ipam);
  assert.deepEqual(
    ips.map(({ gateway }) => gateway),
    ['10.0.0.1', 'fd00::9'],
  );
  assert.deepEqual(routes, [
    { dst: '0.0.0.0/0', gw: '10.0.0.1' },
    { dst: '::/0', gw: 'fd00::9' },
  ]);
  assert.equal(gateways.length, 2);
  const own = [{ dst: '0.0.0.0/0', gw: '10.0.0.7' }];
  assert.equal(
    completeAddresses(config, { ips: [{ address: '10.0.0.5/24' }], routes: own }).routes.length,
    1,
  );
});

test('ranges are checked', () => {
  const parse = (ipam: object): unknown =>
    parseHostLocalConfig({ config: { name: 'net1', ipam: { type: 'host-local', ...ipam } }, args: {} });
  const range = { subnet: '10.0.0.0/24' };
  for (const [ipam, fault] of [
    [{}, /no IP ranges/],
    [{ subnet: '10.0.0.0/31' }, /too small/],
    [{ subnet: '10.0.0.1/24' }, /host bits set/],
    [{ ...range, rangeStart: '10.0.1.1' }, /rangeStart 10\.0\.1\.1 is not in/],
    [{ ...range, rangeStart: '10.0.0.9', rangeEnd: '10.0.0.8' }, /is after/],
    [{ ranges: [[range, { subnet: 'fd00::/64' }]] }, /mixes address families/],
    [{ ranges: [[range], [{ subnet: '10.0.0.0/25' }]] }, /overlap/],
    [{ ranges: [[]] }, /range set 0 is empty/],
    [{ ...range, routes: [{ dst: 'default' }] }, /"default" is not/],
    [{ ...range, gateway: 'x' }, /gateway: "x"/],
  ] as const) {
    assert.throws(() => parse(ipam), fault);
  }
});

test('candidates go once around all ranges of a set and leave out gateways', () => {
  const small = { subnet: '10.0.0.0/30' };
  const other = { subnet: '10.0.1.0/29', rangeStart: '10.0.1.2', rangeEnd: '10.0.1.4', gateway: '10.0.1.3' };
  const config = { name: 'n', ipam: { type: 'host-local', ranges: [[small, other]] } };
  const [set] = parseHostLocalConfig({ config, args: {} }).ranges;
  assert.ok(set);
  const order = (last?: bigint): string[] =>
    [...candidates(set, last === undefined ? undefined : { family: 4, value: last })].map(({ address }) =>
      formatIp(address),
    );
  assert.deepEqual(order(), ['10.0.0.2', '10.0.1.2', '10.0.1.4']);
  assert.deepEqual(order(0x0a000102n), ['10.0.1.4', '10.0.0.2', '10.0.1.2']);
  assert.deepEqual(order(0x0b000000n), ['10.0.0.2', '10.0.1.2', '10.0.1.4']);
});

test('port mappings become elements of the pod family, all or none', () => {
  const config = (...portMappings: object[]): Parameters<typeof mappingElements>[0] =>
    parsePortmapConfig({ name: 'n', runtimeConfig: { portMappings } });
  const result = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'cni0' }, { name: 'veth1' }, { name: 'eth0', sandbox: '/x' }],
    ips: [
      { interface: 0, address: '10.0.0.1/24' },
      { interface: 2, address: '10.0.0.5/24' },
    ],
    routes: [],
    dns: {},
  };
  const pods = podAddresses(result, 'eth0');
  assert.deepEqual(
    pods.map(({ address }) => formatIp(address)),
    ['10.0.0.5'],
  );
  const owner = { containerId: 'c', ifName: 'eth0' };
  const web = { hostPort: 80, containerPort: 8080, protocol: 'TCP' };
  assert.deepEqual(
    mappingElements(config(web, { ...web, hostIP: '::' }), pods, owner).map(({ set, value }) => [set, value]),
    [
      ['ports_4', { concat: ['tcp', 80] }],
      ['neighbours_4', { concat: [{ prefix: { addr: '10.0.0.0', len: 24 } }, '10.0.0.5'] }],
    ],
  );
  assert.throws(
    () => mappingElements(config(web, { ...web, containerPort: 1 }), pods, owner),
    /mapped twice/,
  );
  assert.throws(() => config({ ...web, hostPort: 0 }), /portMappings\.0\.hostPort/);
  assert.throws(() => config({ ...web, protocol: 'icmp' }), /protocol/);
  assert.throws(
    () => mappingElements(config({ ...web, hostIP: 'localhost' }), pods, owner),
    /hostIP of port 80/,
  );
});

test('an owner fits into the comment of an element', () => {
  assert.equal(ownerLabel('net', 'abc', 'eth0'), 'abc/eth0@net');
  const long = ownerLabel('n'.repeat(200), 'c'.repeat(200), 'a'.repeat(15));
  assert.ok(long.length < 128, String(long.length));
  assert.ok(long.endsWith(networkSuffix('n'.repeat(200))));
  assert.notEqual(long, ownerLabel('n'.repeat(200), 'd'.repeat(200), 'a'.repeat(15)));
});
