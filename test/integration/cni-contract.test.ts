/**
 * The contract of the in-process plugins: the standard program and ours do the same work on the same configuration, and
 * results, links, addresses, routes, sysctls and leases are compared. Needs root and containernetworking-plugins.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { BridgePlugin } from '../../src/cni/plugins/bridge.ts';
import { HostLocalPlugin } from '../../src/cni/plugins/host-local.ts';
import { LoopbackPlugin } from '../../src/cni/plugins/loopback.ts';
import type { CniResult, InProcessPlugin } from '../../src/cni/plugin-types.ts';
import {
  callProgram,
  isOnStage,
  prepareStage,
  runOnStage,
  stageDeps,
  type PluginCall,
  type StageDeps,
} from '../fixtures/cni-stage.ts';
import {
  addressesOf,
  anonymous,
  bridgeName,
  held,
  json,
  network,
  reset,
  snapshot,
} from '../fixtures/cni-observe.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

type Implementation = (call: PluginCall) => Promise<CniResult | undefined>;

let deps: StageDeps;
const hostLocal = new HostLocalPlugin();
const plugins: Record<string, InProcessPlugin> = {
  bridge: new BridgePlugin(hostLocal),
  'host-local': hostLocal,
  loopback: new LoopbackPlugin(),
};

const ours: Implementation = async ({
  command,
  config,
  containerId,
  netnsPath,
  ifName = 'eth0',
  args = '',
}) => {
  const plugin = plugins[String(config['type'])];
  assert.ok(plugin);
  assert.equal(plugin.supports(config), undefined);
  const pairs = args.split(';').flatMap((pair) => (pair === '' ? [] : [pair.split('=')]));
  const prevResult = config['prevResult'] as CniResult | undefined;
  const request = {
    config,
    containerId,
    netnsPath,
    ifName,
    args: Object.fromEntries(pairs) as Record<string, string>,
    ...(prevResult === undefined ? {} : { prevResult }),
  };
  if (command === 'ADD') return await plugin.add(deps, request);
  await (command === 'DEL' ? plugin.del(deps, request) : plugin.check(deps, request));
  return undefined;
};
const implementations: readonly (readonly [string, Implementation])[] = [
  ['program', callProgram],
  ['in-process', ours],
];

const v4Range = [{ subnet: '10.77.0.0/24' }];
const v6Range = [{ subnet: 'fd77::/64' }];
const v4 = { type: 'host-local', ranges: [v4Range] };
const dual = { type: 'host-local', ranges: [v4Range, v6Range] };

interface Case {
  readonly config: Record<string, unknown>;
  readonly args?: string;
  readonly ping?: string;
}

const cases: Record<string, Case> = {
  'default gateway, masquerading': {
    config: network({ isDefaultGateway: true, ipMasq: true, ipam: v4 }),
    ping: '10.77.0.1',
  },
  'both families, routes, mtu, hairpin': {
    config: network({
      isGateway: true,
      mtu: 1400,
      hairpinMode: true,
      ipam: {
        ...dual,
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }, { dst: '10.99.0.0/16', gw: '10.77.0.9' }],
      },
    }),
    ping: 'fd77::1',
  },
  'promiscuous, no gateway': { config: network({ promiscMode: true, ipam: v4 }) },
  'no addresses at all': { config: network({}) },
  'address and MAC by runtime configuration': {
    config: network({
      isGateway: true,
      ipam: v4,
      runtimeConfig: { ips: ['10.77.0.77/24'], mac: '02:00:00:00:77:77' },
    }),
    ping: '10.77.0.1',
  },
  'address and MAC by arguments': {
    config: network({ isGateway: true, ipam: v4 }),
    args: 'IgnoreUnknown=1;IP=10.77.0.66;MAC=02:00:00:00:66:66;K8S_POD_NAME=web',
  },
  'part of a range, own gateway': {
    config: network({
      isDefaultGateway: true,
      ipam: {
        type: 'host-local',
        subnet: '10.77.0.0/16',
        rangeStart: '10.77.3.10',
        rangeEnd: '10.77.3.12',
        gateway: '10.77.0.254',
      },
    }),
    ping: '10.77.0.254',
  },
  'address ranges by runtime configuration': {
    config: network({
      isGateway: true,
      ipam: { type: 'host-local' },
      runtimeConfig: { ipRanges: [v4Range, v6Range] },
    }),
  },
  'dns of the network': {
    config: network({ ipam: v4, dns: { nameservers: ['192.0.2.53'], search: ['a.test'] } }),
  },
};

async function observe(implementation: Implementation, { config, args, ping }: Case): Promise<unknown> {
  reset();
  using netns = new ThrowawayNetns();
  const runtime = config['runtimeConfig'] as { mac?: string } | undefined;
  const fixedMac = runtime?.mac ?? /MAC=(.*?);/.exec(args ?? '')?.[1];
  const call = {
    config,
    containerId: 'pod-1',
    netnsPath: netns.path,
    ...(args === undefined ? {} : { args }),
  };
  const result = await implementation({ ...call, command: 'ADD' });
  assert.ok(result);
  const seen = snapshot(netns);
  if (ping !== undefined) netns.run('busybox', 'ping', '-c', '1', '-W', '3', ping);
  // The program's CHECK has no L2 mode: it always asks an IPAM plugin.
  if (config['ipam'] !== undefined)
    await implementation({ ...call, command: 'CHECK', config: { ...config, prevResult: result } });
  const del = { ...call, command: 'DEL', config: { ...config, prevResult: result } } as const;
  await implementation(del);
  await implementation(del);
  const left = [
    held(),
    netns.ip('link').map(({ ifname }) => ifname),
    json('ip', '-j', 'link', 'show', 'master', bridgeName),
  ];
  await implementation({ ...del, netnsPath: '/run/netns/gone' });
  const { cniVersion: _, ...rest } = result;
  return anonymous({ result: rest, seen, left }, netns, fixedMac);
}

if (isOnStage()) {
  before(async () => {
    prepareStage();
    deps = await stageDeps();
  });
  after(async () => await deps[Symbol.asyncDispose]());

  for (const [name, each] of Object.entries(cases)) {
    test(`the same from both: ${name}`, async () => {
      const expected = await observe(callProgram, each);
      const actual = await observe(ours, each);
      assert.deepEqual(actual, expected);
    });
  }

  test('the same from both: loopback', async () => {
    const config = { cniVersion: '1.0.0', name: 'testnet', type: 'loopback' };
    const seen = await Promise.all(
      implementations.map(async ([, implementation]) => {
        using netns = new ThrowawayNetns();
        const call = { config, containerId: 'pod-1', netnsPath: netns.path };
        const result = await implementation({ ...call, command: 'ADD' });
        await implementation({ ...call, command: 'CHECK' });
        const up = addressesOf(netns.ip('addr', 'show', 'dev', 'lo')[0]);
        await implementation({ ...call, command: 'DEL' });
        const flags = netns.ip('link', 'show', 'dev', 'lo')[0]?.['flags'];
        await assert.rejects(implementation({ ...call, command: 'CHECK' }), /down/);
        await implementation({ ...call, command: 'DEL', netnsPath: '/run/netns/gone' });
        return anonymous({ ...result, cniVersion: '', up, flags }, netns, '00:00:00:00:00:00');
      }),
    );
    assert.deepEqual(seen[1], seen[0]);
  });

  test('the same from both: host-local alone, with a resolver', async () => {
    // The older bridge program drops what IPAM says about DNS; host-local itself gives it.
    const ipam = { ...dual, routes: [{ dst: '0.0.0.0/0' }], resolvConf: '/etc/resolv.conf' };
    const config = { cniVersion: '1.0.0', name: 'testnet', type: 'host-local', ipam };
    const seen: unknown[] = [];
    for (const [, implementation] of implementations) {
      reset();
      const call = { config, containerId: 'pod-1', netnsPath: '/run/netns/none' };
      const results = [await implementation({ ...call, command: 'ADD' })];
      results.push(await implementation({ ...call, containerId: 'pod-2', command: 'ADD' }));
      await implementation({ ...call, command: 'CHECK' });
      await implementation({ ...call, command: 'DEL' });
      await assert.rejects(implementation({ ...call, command: 'CHECK' }));
      results.push(await implementation({ ...call, command: 'ADD' }));
      seen.push([results.map((result) => ({ ...result, cniVersion: '' })), held()]);
    }
    assert.deepEqual(seen[1], seen[0]);
    assert.deepEqual((seen[1] as unknown[])[1], ['10.77.0.3', '10.77.0.4', 'fd77::3', 'fd77::4']);
  });

  const faults: Record<string, { config: Record<string, unknown>; message: RegExp }> = {
    'the bridge has another address': {
      config: network({ isGateway: true, ipam: { type: 'host-local', subnet: '10.78.0.0/24' } }),
      message: /already has an IP address different from/,
    },
    'hairpin and promiscuous': {
      config: network({ hairpinMode: true, promiscMode: true, ipam: v4 }),
      message: /hairpin.*promisc/i,
    },
    'no address is free': {
      config: network({
        ipam: {
          ...v4,
          ranges: [[{ subnet: '10.77.0.0/24', rangeStart: '10.77.0.2', rangeEnd: '10.77.0.2' }]],
        },
      }),
      message: /no IP addresses available in range set/,
    },
    'host bits in the subnet': {
      config: network({ ipam: { type: 'host-local', subnet: '10.77.0.1/24' } }),
      message: /host bits set/,
    },
    'the requested address is taken': {
      config: network({ ipam: v4, runtimeConfig: { ips: ['10.77.0.2'] } }),
      message: /10\.77\.0\.2 is not available/,
    },
    'a requested address of nowhere': {
      config: network({ ipam: v4, runtimeConfig: { ips: ['192.0.2.1'] } }),
      message: /192\.0\.2\.1/,
    },
    'the link is no bridge': {
      config: network({ bridge: 'lo', ipam: v4 }),
      message: /lo.* no(?:t a)? bridge/,
    },
    'a route without a way': {
      config: network({ ipam: { ...v4, routes: [{ dst: '10.0.0.0/8', gw: '192.0.2.1' }] } }),
      message: /unreachable|gateway/i,
    },
  };
  for (const [name, { config, message }] of Object.entries(faults)) {
    test(`both refuse, and leave nothing: ${name}`, async () => {
      for (const [, implementation] of implementations) {
        reset();
        using first = new ThrowawayNetns();
        using second = new ThrowawayNetns();
        const standing = {
          config: network({ isGateway: true, ipam: v4 }),
          containerId: 'pod-0',
          netnsPath: first.path,
        };
        await implementation({ ...standing, command: 'ADD' });
        const call = { config, containerId: 'pod-1', netnsPath: second.path };
        await assert.rejects(implementation({ ...call, command: 'ADD' }), message);
        // What a runtime does after a failed ADD; after ours there is nothing left to do.
        if (implementation === callProgram) await implementation({ ...call, command: 'DEL' }).catch(() => {});
        assert.deepEqual(held(), ['10.77.0.2']);
        assert.deepEqual(
          second.ip('link').map(({ ifname }) => ifname),
          ['lo'],
        );
        assert.equal(json('ip', '-j', 'link', 'show', 'master', bridgeName).length, 1);
      }
    });
  }

  test('an interface of that name in the container is not touched', async () => {
    for (const [, implementation] of implementations) {
      reset();
      using netns = new ThrowawayNetns();
      netns.run('ip', 'link', 'add', 'eth0', 'type', 'bridge');
      const call = { config: network({ ipam: v4 }), containerId: 'pod-1', netnsPath: netns.path };
      await assert.rejects(implementation({ ...call, command: 'ADD' }), /exist|already/);
      assert.deepEqual(
        netns.ip('link').map(({ ifname }) => ifname),
        ['lo', 'eth0'],
      );
      assert.deepEqual(held(), []);
    }
  });

  test('what one made the other takes away', async () => {
    const config = network({ isGateway: true, ipam: dual });
    for (const [adder, deleter] of [
      [ours, callProgram],
      [callProgram, ours],
    ] as const) {
      reset();
      using netns = new ThrowawayNetns();
      const call = { config, containerId: 'pod-1', netnsPath: netns.path };
      const result = await adder({ ...call, command: 'ADD' });
      const prevResult = { ...result, cniVersion: '1.0.0' };
      assert.deepEqual(held(), ['10.77.0.2', 'fd77::2']);
      await deleter({ ...call, command: 'CHECK', config: { ...config, prevResult } });
      await deleter({ ...call, command: 'DEL', config: { ...config, prevResult } });
      assert.deepEqual(held(), []);
      assert.deepEqual(
        netns.ip('link').map(({ ifname }) => ifname),
        ['lo'],
      );
    }
  });

  test('ten at a time from both on one new bridge get ten addresses', async () => {
    reset();
    const config = network({ isDefaultGateway: true, ipam: v4 });
    using stack = new DisposableStack();
    const pods = Array.from({ length: 10 }, () => stack.use(new ThrowawayNetns()));
    const results = await Promise.all(
      pods.map(async (pod, index) => {
        const implementation = index % 2 === 0 ? ours : callProgram;
        return await implementation({
          command: 'ADD',
          config,
          containerId: `pod-${index}`,
          netnsPath: pod.path,
        });
      }),
    );
    const addresses = new Set(results.map((result) => result?.ips[0]?.address));
    assert.equal(addresses.size, 10);
    assert.equal(held().length, 10);
    for (const pod of pods) pod.run('busybox', 'ping', '-c', '1', '-W', '3', '10.77.0.1');
    await Promise.all(
      pods.map(
        async (pod, index) =>
          await ours({ command: 'DEL', config, containerId: `pod-${index}`, netnsPath: pod.path }),
      ),
    );
    assert.deepEqual(held(), []);
  });

  test('pods that come at once to a new bridge are told of the same gateway', async () => {
    const config = network({ isDefaultGateway: true, ipam: v4 });
    for (let round = 0; round < 5; round += 1) {
      reset();
      using stack = new DisposableStack();
      const pods = Array.from({ length: 16 }, () => stack.use(new ThrowawayNetns()));
      const results = await Promise.all(
        pods.map(async (pod, index) => {
          const call = { command: 'ADD', config, containerId: `pod-${index}`, netnsPath: pod.path } as const;
          return await ours(call);
        }),
      );
      // What a pod has asked for once, its kernel goes on using for half a minute.
      const macs = new Set(results.map((result) => result?.interfaces[0]?.mac));
      assert.match([...macs].join(), /^[\da-f]{2}(?::[\da-f]{2}){5}$/);
    }
  });
} else {
  const missing = ['bridge', 'host-local', 'loopback'].find((type) => !existsSync(`/usr/lib/cni/${type}`));
  test(
    'the in-process plugins do what the standard programs do',
    { skip: missing === undefined ? false : `/usr/lib/cni/${missing} is not installed` },
    () => {
      assert.equal(runOnStage(import.meta.filename), 0);
    },
  );
}
