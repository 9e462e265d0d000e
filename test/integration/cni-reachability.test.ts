/** What packets can do on a network of the in-process plugins: masquerading, host ports, spoof check. Needs root, nft and socat. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { CniResult, PluginRequest } from '../../src/cni/plugin-types.ts';
import { BridgePlugin } from '../../src/cni/plugins/bridge.ts';
import { HostLocalPlugin } from '../../src/cni/plugins/host-local.ts';
import { PortmapPlugin } from '../../src/cni/plugins/portmap.ts';
import { bridgeName, network, reset } from '../fixtures/cni-observe.ts';
import { isOnStage, prepareStage, runOnStage, stageDeps, type StageDeps } from '../fixtures/cni-stage.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

let deps: StageDeps;
const bridge = new BridgePlugin(new HostLocalPlugin());
const portmap = new PortmapPlugin();
const config = network({
  isDefaultGateway: true,
  ipMasq: true,
  macspoofchk: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/64' }]] },
});

/** A pod with a web server of sorts on 8080, in TCP and UDP of both families, which tells who asks. */
class Pod implements AsyncDisposable {
  readonly netns = new ThrowawayNetns();
  readonly id: string;
  readonly #servers: ChildProcess[];
  result: CniResult | undefined;

  constructor(id: string) {
    this.id = id;
    const say = `SYSTEM:echo ${id} $SOCAT_PEERADDR`;
    this.#servers = [`TCP6-LISTEN:8080,fork,ipv6only=0`, `UDP6-RECVFROM:8080,fork,ipv6only=0`].map((listen) =>
      spawn('ip', ['netns', 'exec', this.netns.name, 'socat', listen, say], { stdio: 'ignore' }),
    );
  }

  request(keys: Partial<PluginRequest> = {}): PluginRequest {
    const { result: prevResult } = this;
    return {
      config,
      containerId: this.id,
      netnsPath: this.netns.path,
      ifName: 'eth0',
      args: {},
      ...(prevResult === undefined ? {} : { prevResult }),
      ...keys,
    };
  }

  ports(...portMappings: readonly object[]): PluginRequest {
    return this.request({ config: { name: 'testnet', type: 'portmap', runtimeConfig: { portMappings } } });
  }

  async attach(): Promise<this> {
    this.result = await bridge.add(deps, this.request());
    return this;
  }

  address(family: 4 | 6): string {
    return (
      this.result?.ips
        .find(({ address }) => address.includes(':') === (family === 6))
        ?.address.split('/')[0] ?? ''
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.kill();
    await bridge.del(deps, this.request());
    this.netns[Symbol.dispose]();
  }
}

/** What the server at `target` (a socat address) says; empty when it does not answer. */
async function ask(target: string, netns?: ThrowawayNetns): Promise<string> {
  const within = netns === undefined ? [] : ['ip', 'netns', 'exec', netns.name];
  const argv = [...within, 'socat', '-T1', '-t1', 'STDIO,ignoreeof', target];
  const child = promisify(execFile)(argv[0] ?? '', argv.slice(1), { timeout: 4000 });
  child.child.stdin?.end('hello\n');
  return await child.then(
    ({ stdout }) => stdout.trim(),
    () => '',
  );
}

async function untilAnswers(target: string, netns?: ThrowawayNetns): Promise<string> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const answer = await ask(target, netns);
    if (answer !== '') return answer;
    await delay(50);
  }
  return '';
}

const tcp = (address: string, port: number): string => `TCP:${address}:${port},connect-timeout=1`;

/** Another machine, 192.0.2.2, which knows the host (192.0.2.1) and nothing of its pods. */
function outsideWorld(): ThrowawayNetns {
  const outside = new ThrowawayNetns();
  const host = (...args: string[]): unknown => execFileSync('ip', args);
  host('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside.name);
  for (const address of ['192.0.2.1/24', '198.51.100.1/32']) host('addr', 'add', address, 'dev', 'uplink');
  host('-6', 'addr', 'add', 'fd99::1/64', 'dev', 'uplink', 'nodad');
  host('link', 'set', 'uplink', 'up');
  outside.run('ip', 'addr', 'add', '192.0.2.2/24', 'dev', 'eth0');
  outside.run('ip', '-6', 'addr', 'add', 'fd99::2/64', 'dev', 'eth0', 'nodad');
  outside.run('ip', 'link', 'set', 'eth0', 'up');
  outside.run('ip', 'route', 'add', '198.51.100.1', 'via', '192.0.2.1');
  return outside;
}

function ruleset(): string {
  return execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
}

if (isOnStage()) {
  let outside: ThrowawayNetns;
  before(async () => {
    prepareStage();
    deps = await stageDeps();
    outside = outsideWorld();
  });
  after(async () => {
    outside[Symbol.dispose]();
    await deps[Symbol.asyncDispose]();
  });

  test('pods reach each other, the host and, masqueraded, the world; rules go with the last pod', async () => {
    reset();
    {
      await using one = await new Pod('one').attach();
      await using two = await new Pod('two').attach();
      assert.match(await untilAnswers(tcp(two.address(4), 8080), one.netns), /^two .*ffff:0a4d:0002/);
      assert.match(await untilAnswers(tcp(`[${two.address(6)}]`, 8080), one.netns), /^two /);
      one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '192.0.2.2');
      one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', 'fd99::2');
      // `systemctl restart nftables` takes all rules away; the next pod brings them back.
      execFileSync('nft', ['flush', 'ruleset']);
      await assert.rejects(bridge.check(deps, one.request()), /not masqueraded/);
      await using three = await new Pod('three').attach();
      three.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '192.0.2.2');
      await bridge.check(deps, one.request());
      await bridge.gc(deps, config, [{ containerID: 'one', ifname: 'eth0' }]);
      assert.match(ruleset(), /masquerade-10\.77\.0\.0-24/);
      assert.doesNotMatch(ruleset(), /three/);
    }
    assert.equal(ruleset(), '');
  });

  test('a pod cannot send from a MAC address that is not its own', async () => {
    reset();
    await using pod = await new Pod('one').attach();
    pod.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.1');
    pod.netns.run('ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:be:ef');
    assert.throws(() => pod.netns.run('busybox', 'ping', '-c', '1', '-W', '1', '10.77.0.1'));
  });

  test('a host port leads to the pod from everywhere', async () => {
    reset();
    await using pod = await new Pod('one').attach();
    await using other = await new Pod('two').attach();
    const request = pod.ports(
      { hostPort: 80, containerPort: 8080, protocol: 'tcp' },
      { hostPort: 53, containerPort: 8080, protocol: 'udp' },
    );
    assert.equal(await portmap.add(deps, request), pod.result);
    await portmap.check(deps, request);
    await untilAnswers(tcp(pod.address(4), 8080));
    const ways: [string, string, ThrowawayNetns | undefined][] = [
      ['another machine', tcp('192.0.2.1', 80), outside],
      ['another machine, IPv6', tcp('[fd99::1]', 80), outside],
      ['another machine, UDP', 'UDP:192.0.2.1:53', outside],
      ['the host by its address', tcp('192.0.2.1', 80), undefined],
      ['the host by its IPv6 address', tcp('[fd99::1]', 80), undefined],
      ['the host by loopback', tcp('127.0.0.1', 80), undefined],
      ['the host by another loopback address', tcp('127.0.0.5', 80), undefined],
      ['the host by loopback, UDP', 'UDP:127.0.0.1:53', undefined],
      ['another pod', tcp('192.0.2.1', 80), other.netns],
      ['another pod by the gateway', tcp('10.77.0.1', 80), other.netns],
      ['the pod itself', tcp('192.0.2.1', 80), pod.netns],
      ['the pod itself, IPv6', tcp('[fd99::1]', 80), pod.netns],
    ];
    for (const [way, target, from] of ways) assert.match(await untilAnswers(target, from), /^one /, way);
    assert.match(await untilAnswers(tcp('192.0.2.1', 80), outside), /ffff:c000:0202/, 'the source is kept');
    await portmap.del(deps, request);
    await portmap.del(deps, request);
    assert.equal(await ask(tcp('192.0.2.1', 80), outside), '');
    await assert.rejects(portmap.check(deps, request), /80\/tcp does not lead/);
    assert.doesNotMatch(ruleset(), /gantry_ports/);
  });

  test('one port on two host addresses leads to two pods; the particular goes before the general', async () => {
    reset();
    await using one = await new Pod('one').attach();
    await using two = await new Pod('two').attach();
    const particular = { hostPort: 80, containerPort: 8080, protocol: 'tcp', hostIP: '198.51.100.1' };
    await portmap.add(deps, one.ports(particular));
    await portmap.add(deps, two.ports({ ...particular, hostIP: '0.0.0.0' }));
    assert.match(await untilAnswers(tcp('198.51.100.1', 80), outside), /^one /);
    assert.match(await untilAnswers(tcp('192.0.2.1', 80), outside), /^two /);
    await portmap.del(deps, one.ports(particular));
    assert.match(await untilAnswers(tcp('198.51.100.1', 80), outside), /^two /);
    await portmap.gc(deps, { name: 'testnet', type: 'portmap' }, []);
    assert.doesNotMatch(ruleset(), /gantry_ports/);
  });

  test('a port that another pod has is refused by name, and none of the others stays', async () => {
    reset();
    await using one = await new Pod('one').attach();
    await using two = await new Pod('two').attach();
    const taken = { hostPort: 80, containerPort: 8080, protocol: 'tcp' };
    await portmap.add(deps, one.ports(taken));
    const free = { hostPort: 81, containerPort: 8080, protocol: 'tcp' };
    await assert.rejects(
      portmap.add(deps, two.ports(free, taken)),
      /host port 80\/tcp is taken by 10\.77\.0\.2 \(one\/eth0@testnet\)/,
    );
    assert.doesNotMatch(ruleset(), /tcp \. 81/);
    await assert.rejects(
      portmap.add(deps, two.ports(free, { ...free, containerPort: 1 })),
      /81\/tcp is mapped twice/,
    );
    await portmap.del(deps, two.ports(free, taken));
    assert.match(await untilAnswers(tcp('192.0.2.1', 80), outside), /^one /);
  });

  test('what leads to an address is replaced when the address has a new owner', async () => {
    reset();
    const mapping = { hostPort: 80, containerPort: 8080, protocol: 'tcp' };
    await using pod = await new Pod('one').attach();
    await portmap.add(deps, pod.ports(mapping));
    // The first owner's DEL never came; the address was given to another.
    await portmap.add(deps, { ...pod.ports(mapping), containerId: 'later' });
    await portmap.del(deps, pod.ports(mapping));
    assert.match(await untilAnswers(tcp('192.0.2.1', 80), outside), /^one /);
    await portmap.check(deps, { ...pod.ports(mapping), containerId: 'later' });
    await portmap.del(deps, { ...pod.ports(mapping), containerId: 'later' });
    assert.doesNotMatch(ruleset(), /gantry_ports/);
  });

  test('a pod without ports makes no rule', async () => {
    reset();
    await using pod = await new Pod('one').attach();
    const rules = ruleset();
    assert.equal(await portmap.add(deps, pod.ports()), pod.result);
    await portmap.check(deps, pod.ports());
    await portmap.del(deps, pod.ports());
    assert.equal(ruleset(), rules);
  });

  test('CVE-2020-8558: a neighbour does not reach what listens on the host loopback', async () => {
    reset();
    await using pod = await new Pod('one').attach();
    await portmap.add(deps, pod.ports({ hostPort: 80, containerPort: 8080, protocol: 'tcp' }));
    const listener = spawn('socat', ['TCP-LISTEN:9999,bind=127.0.0.1,fork,reuseaddr', 'SYSTEM:echo secret']);
    try {
      assert.equal(await untilAnswers(tcp('127.0.0.1', 9999)), 'secret');
      pod.netns.run('ip', 'addr', 'flush', 'dev', 'lo');
      pod.netns.run('sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1');
      pod.netns.run('ip', 'route', 'replace', '127.0.0.1/32', 'via', '10.77.0.1', 'src', pod.address(4));
      pod.netns.run('ip', 'route', 'flush', 'table', 'local', '127.0.0.0/8');
      assert.equal(await ask(tcp('127.0.0.1', 9999), pod.netns), '');
      // The attack is real: without the guard it succeeds.
      execFileSync('nft', ['flush', 'chain', 'inet', 'gantry_ports', 'guard_loopback']);
      assert.equal(await untilAnswers(tcp('127.0.0.1', 9999), pod.netns), 'secret');
    } finally {
      listener.kill();
    }
  });

  test('CVE-2025-54410, CVE-2025-54388: a firewall that reloads takes no rule of ours, and a port on 127.0.0.1 stays on this host', async () => {
    reset();
    await using pod = await new Pod('one').attach();
    await using neighbour = await new Pod('two').attach();
    const mapping = { hostPort: 80, containerPort: 8080, protocol: 'tcp', hostIP: '127.0.0.1' };
    await portmap.add(deps, pod.ports(mapping));
    const ours = (): string =>
      execFileSync('nft', ['list', 'table', 'inet', 'gantry_ports'], { encoding: 'utf8' });
    const rules = ours();
    // As firewalld does, with either of its backends.
    for (const table of ['filter', 'nat']) execFileSync('iptables', ['-t', table, '-F']);
    // What has not been there is added first: it may be that iptables has its tables elsewhere.
    for (const table of ['inet firewalld', 'ip filter', 'ip nat'])
      execFileSync('nft', ['-f', '-'], {
        input: `add table ${table}
delete table ${table}
`,
      });
    assert.equal(ours(), rules);
    assert.match(await untilAnswers(tcp('127.0.0.1', 80)), /^one /);
    assert.equal(await ask(tcp('192.0.2.1', 80), outside), '');
    neighbour.netns.run('ip', 'addr', 'flush', 'dev', 'lo');
    neighbour.netns.run('sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1');
    neighbour.netns.run(
      'ip',
      'route',
      'replace',
      '127.0.0.1/32',
      'via',
      '10.77.0.1',
      'src',
      neighbour.address(4),
    );
    neighbour.netns.run('ip', 'route', 'flush', 'table', 'local', '127.0.0.0/8');
    assert.equal(await ask(tcp('127.0.0.1', 80), neighbour.netns), '');
    await portmap.del(deps, pod.ports(mapping));
  });

  test('a namespace whose path is gone but that somebody keeps loses its link to the bridge', async () => {
    reset();
    await using pod = await new Pod('one').attach();
    const ports = (): string =>
      execFileSync('ip', ['link', 'show', 'master', bridgeName], { encoding: 'utf8' });
    assert.match(ports(), /veth/);
    await bridge.del(deps, pod.request({ netnsPath: '/run/netns/gone' }));
    assert.equal(ports(), '');
    assert.equal(ruleset(), '');
  });

  test('isolated ports reach the host and not each other', async () => {
    reset();
    const isolated = { ...config, portIsolation: true };
    await using one = new Pod('one');
    await using two = new Pod('two');
    for (const pod of [one, two]) pod.result = await bridge.add(deps, pod.request({ config: isolated }));
    one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.1');
    assert.throws(() => one.netns.run('busybox', 'ping', '-c', '1', '-W', '1', two.address(4)));
  });

  test('VLANs keep pods of one bridge apart', async (t) => {
    reset();
    const onVlan = (vlan: number): Record<string, unknown> => ({ ...config, vlan, bridge: bridgeName });
    await using one = new Pod('one');
    try {
      one.result = await bridge.add(deps, one.request({ config: onVlan(100) }));
    } catch (error) {
      assert.match(String(error), /ENOTSUP/);
      t.skip(`this kernel has no VLAN filtering in bridges: ${String(error)}`);
      return;
    }
    await using two = new Pod('two');
    await using three = new Pod('three');
    two.result = await bridge.add(deps, two.request({ config: onVlan(100) }));
    const apart = { ...onVlan(200), isDefaultGateway: false, ipMasq: false };
    three.result = await bridge.add(deps, three.request({ config: apart }));
    one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', two.address(4));
    one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.1');
    assert.throws(() => one.netns.run('busybox', 'ping', '-c', '1', '-W', '1', three.address(4)));
  });

  test('SCTP', async (t) => {
    reset();
    await using pod = await new Pod('one').attach();
    const request = pod.ports({ hostPort: 80, containerPort: 8080, protocol: 'sctp' });
    await portmap.add(deps, request);
    assert.match(ruleset(), /sctp \. 80 comment .* : 10\.77\.0\.2 \. 8080/);
    await portmap.del(deps, request);
    if (!existsSync('/proc/sys/net/sctp'))
      t.skip('this kernel has no SCTP: the rule is made, no packet sent');
  });
} else {
  const missing = ['/usr/bin/socat', '/usr/sbin/nft', '/usr/bin/busybox'].find((path) => !existsSync(path));
  test(
    'networks of the in-process plugins carry packets',
    { skip: missing === undefined ? false : `${missing} is not installed` },
    () => {
      assert.equal(runOnStage(import.meta.filename), 0);
    },
  );
}
