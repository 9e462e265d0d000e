/** What packets can do on a network of the in-process plugins: masquerading, host ports, spoof check. Needs root, nft and socat. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { PortmapPlugin } from '../../src/cni/plugins/portmap.ts';
import { bridgeName, reset } from '../fixtures/cni-observe.ts';
import { ask, bridge, config, outsideWorld, Pod, ruleset, tcp, untilAnswers } from '../fixtures/cni-pods.ts';
import { isOnStage, prepareStage, runOnStage, stageDeps, type StageDeps } from '../fixtures/cni-stage.ts';
import type { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

let deps: StageDeps;
const portmap = new PortmapPlugin();

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
      await using one = await new Pod(deps, 'one').attach();
      await using two = await new Pod(deps, 'two').attach();
      assert.match(await untilAnswers(tcp(two.address(4), 8080), one.netns), /^two .*ffff:0a4d:0002/);
      assert.match(await untilAnswers(tcp(`[${two.address(6)}]`, 8080), one.netns), /^two /);
      one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '192.0.2.2');
      one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', 'fd99::2');
      // `systemctl restart nftables` takes all rules away; the next pod brings them back.
      execFileSync('nft', ['flush', 'ruleset']);
      await assert.rejects(bridge.check(deps, one.request()), /not masqueraded/);
      await using three = await new Pod(deps, 'three').attach();
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
    await using pod = await new Pod(deps, 'one').attach();
    pod.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.1');
    pod.netns.run('ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:be:ef');
    assert.throws(() => pod.netns.run('busybox', 'ping', '-c', '1', '-W', '1', '10.77.0.1'));
  });

  test('a host port leads to the pod from everywhere', async () => {
    reset();
    await using pod = await new Pod(deps, 'one').attach();
    await using other = await new Pod(deps, 'two').attach();
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
    await using one = await new Pod(deps, 'one').attach();
    await using two = await new Pod(deps, 'two').attach();
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
    await using one = await new Pod(deps, 'one').attach();
    await using two = await new Pod(deps, 'two').attach();
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
    await using pod = await new Pod(deps, 'one').attach();
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
    await using pod = await new Pod(deps, 'one').attach();
    const rules = ruleset();
    assert.equal(await portmap.add(deps, pod.ports()), pod.result);
    await portmap.check(deps, pod.ports());
    await portmap.del(deps, pod.ports());
    assert.equal(ruleset(), rules);
  });

  test('CVE-2020-8558: a neighbour does not reach what listens on the host loopback', async () => {
    reset();
    await using pod = await new Pod(deps, 'one').attach();
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
    await using pod = await new Pod(deps, 'one').attach();
    await using neighbour = await new Pod(deps, 'two').attach();
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
    await using pod = await new Pod(deps, 'one').attach();
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
    await using one = new Pod(deps, 'one');
    await using two = new Pod(deps, 'two');
    for (const pod of [one, two]) await pod.attach({ config: isolated });
    one.netns.run('busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.1');
    assert.throws(() => one.netns.run('busybox', 'ping', '-c', '1', '-W', '1', two.address(4)));
  });

  test('a host port of SCTP has its rule, whether this kernel speaks it or not', async () => {
    reset();
    await using pod = await new Pod(deps, 'one', []).attach();
    const request = pod.ports({ hostPort: 80, containerPort: 8080, protocol: 'sctp' });
    await portmap.add(deps, request);
    assert.match(ruleset(), /sctp \. 80 comment .* : 10\.77\.0\.2 \. 8080/);
    await portmap.del(deps, request);
    assert.doesNotMatch(ruleset(), /gantry_ports/);
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
