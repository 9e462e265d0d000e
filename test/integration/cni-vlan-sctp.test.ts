/**
 * Networks of the in-process plugins on kernels that filter VLANs in bridges and speak SCTP, which not all do. Needs root,
 * socat, nft and containernetworking-plugins.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { PortmapPlugin } from '../../src/cni/plugins/portmap.ts';
import { bridgeName, held, json, reset } from '../fixtures/cni-observe.ts';
import { ask, bridge, config, outsideWorld, Pod, ruleset, untilAnswers } from '../fixtures/cni-pods.ts';
import {
  callProgram,
  isOnStage,
  prepareStage,
  runOnStage,
  stageDeps,
  type StageDeps,
} from '../fixtures/cni-stage.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

let deps: StageDeps;
const portmap = new PortmapPlugin();
const sctp = (address: string, port: number): string => `SCTP:${address}:${port}`;
const onVlan = (vlan: number): Record<string, unknown> => ({ ...config, vlan });

function ping(pod: Pod, address: string): void {
  pod.netns.run('busybox', 'ping', '-c', '1', '-W', '2', address);
}

/** What the bridge does with frames of each VLAN at its ports, by the port that a pod is behind or that has the gateway. */
function portVlans(): Map<string, unknown> {
  const ports = json('bridge', '-j', 'vlan', 'show') as { ifname: string; vlans: unknown }[];
  return new Map(ports.map(({ ifname, vlans }) => [ifname, vlans]));
}

function hostEnd(pod: Pod): string {
  return pod.result?.interfaces.find(({ name }) => name.startsWith('veth'))?.name ?? '';
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

  if (filtersVlans()) {
    test('VLANs keep pods of one bridge apart, each with a gateway of its own', async () => {
      reset();
      await using one = await new Pod(deps, 'one', []).attach({ config: onVlan(100) });
      await using two = await new Pod(deps, 'two', []).attach({ config: onVlan(100) });
      const apart = { ...onVlan(200), isDefaultGateway: false, ipMasq: false };
      await using three = await new Pod(deps, 'three', []).attach({ config: apart });
      ping(one, two.address(4));
      ping(one, two.address(6));
      ping(one, '10.77.0.1');
      ping(one, '192.0.2.2');
      assert.throws(() => ping(one, three.address(4)));
      const tagged = (vlan: number): unknown => [{ vlan, flags: ['PVID', 'Egress Untagged'] }];
      assert.deepEqual(portVlans().get(hostEnd(one)), tagged(100), 'no frame of the bridge’s own VLAN');
      assert.deepEqual(portVlans().get(hostEnd(three)), tagged(200));
      await bridge.check(deps, one.request({ config: onVlan(100) }));
    });

    test('a trunk carries tagged VLANs to a pod, and no others', async () => {
      reset();
      const trunk = { ...onVlan(100), vlanTrunk: [{ id: 200 }, { minID: 300, maxID: 301 }] };
      await using switching = await new Pod(deps, 'switching', []).attach({ config: trunk });
      await using plain = await new Pod(deps, 'plain', []).attach({ config: onVlan(200) });
      await using other = await new Pod(deps, 'other', []).attach({ config: onVlan(400) });
      for (const [vlan, far] of [
        [200, plain],
        [400, other],
      ] as const) {
        const link = `eth0.${vlan}`;
        switching.netns.run('ip', 'link', 'add', link, 'link', 'eth0', 'type', 'vlan', 'id', String(vlan));
        switching.netns.run('ip', 'addr', 'add', `10.${vlan / 100}.0.1/24`, 'dev', link);
        switching.netns.run('ip', 'link', 'set', link, 'up');
        far.netns.run('ip', 'addr', 'add', `10.${vlan / 100}.0.2/24`, 'dev', 'eth0');
      }
      ping(switching, '10.2.0.2');
      assert.throws(() => ping(switching, '10.4.0.2'));
    });

    test('the last pod takes the gateway’s link along, and other pods’ gateways stay', async () => {
      reset();
      const links = (): string[] =>
        json('ip', '-j', 'link')
          .map(({ ifname }) => String(ifname))
          .filter((name) => name.startsWith(bridgeName));
      const other = { ...onVlan(200), name: 'other', ipam: { type: 'host-local', subnet: '10.78.0.0/24' } };
      {
        await using one = await new Pod(deps, 'one', []).attach({ config: onVlan(100) });
        {
          await using two = await new Pod(deps, 'two', []).attach({ config: other });
          assert.deepEqual(links(), ['cnitest0', 'cnitest0.100', 'cnitest0.200']);
          ping(two, '10.78.0.1');
          // The host routes between the two, as between any of its networks.
          ping(two, one.address(4));
        }
        await bridge.release(deps, other);
        ping(one, '10.77.0.1');
      }
      await bridge.release(deps, onVlan(100));
      assert.deepEqual(links(), []);
    });

    test('the standard program gives ports the same VLANs, and both use one gateway, whoever made it', async () => {
      // The older program keeps the bridge's own VLAN at the ports; the newer one unless it is told otherwise.
      const kept = { ...onVlan(100), macspoofchk: false, ipMasq: false, preserveDefaultVlan: true };
      const call = (pod: Pod): Parameters<typeof callProgram>[0] => ({
        command: 'ADD',
        config: kept,
        containerId: pod.id,
        netnsPath: pod.netns.path,
      });
      for (const isOursFirst of [true, false]) {
        reset();
        await using theirs = new Pod(deps, 'theirs', []);
        await using ours = new Pod(deps, 'ours', []);
        if (isOursFirst) await ours.attach({ config: kept });
        theirs.result = await callProgram(call(theirs));
        if (!isOursFirst) await ours.attach({ config: kept });
        assert.deepEqual(portVlans().get(hostEnd(ours)), portVlans().get(hostEnd(theirs)));
        for (const pod of [ours, theirs]) ping(pod, '10.77.0.1');
        ping(ours, theirs.address(4));
        await callProgram({ ...call(theirs), command: 'DEL' });
        ping(ours, '10.77.0.1');
      }
    });

    test('a link in the gateway’s place that leads elsewhere is refused by name, and nothing is left', async () => {
      reset();
      execFileSync('ip', ['link', 'add', 'cnitest0.100', 'type', 'veth', 'peer', 'name', 'elsewhere']);
      await using pod = new Pod(deps, 'one', []);
      const attached = pod.attach({ config: onVlan(100) });
      await assert.rejects(attached, /cnitest0\.100 is there already and does not lead to bridge cnitest0/);
      assert.deepEqual(
        pod.netns.ip('link').map(({ ifname }) => ifname),
        ['lo'],
      );
      assert.deepEqual(held(), []);
    });

    test('a bridge that filters no VLANs is refused by name', async () => {
      reset();
      execFileSync('ip', ['link', 'add', bridgeName, 'type', 'bridge']);
      await using pod = new Pod(deps, 'one', []);
      await assert.rejects(
        pod.attach({ config: onVlan(100) }),
        /cnitest0 is there already and does not filter/,
      );
      assert.deepEqual(
        pod.netns.ip('link').map(({ ifname }) => ifname),
        ['lo'],
      );
    });
  }

  if (speaksSctp()) {
    test('a host port of SCTP leads to the pod from everywhere', async () => {
      reset();
      const servers = ['SCTP4-LISTEN:8080,fork', 'SCTP6-LISTEN:8080,fork,ipv6only=1'];
      await using pod = await new Pod(deps, 'one', servers).attach();
      pod.netns.run('ip', 'link', 'set', 'lo', 'up');
      await using other = await new Pod(deps, 'two', []).attach();
      const request = pod.ports(
        { hostPort: 80, containerPort: 8080, protocol: 'sctp' },
        // The same port of another protocol is another port.
        { hostPort: 80, containerPort: 9999, protocol: 'tcp' },
      );
      await portmap.add(deps, request);
      const ways: [string, string, ThrowawayNetns | undefined][] = [
        ['another machine', '192.0.2.1', outside],
        ['another machine, IPv6', '[fd99::1]', outside],
        ['the host by its address', '192.0.2.1', undefined],
        ['the host by its IPv6 address', '[fd99::1]', undefined],
        ['the host by loopback', '127.0.0.1', undefined],
        ['another pod', '192.0.2.1', other.netns],
        ['another pod by the gateway', '10.77.0.1', other.netns],
        ['the pod itself', '192.0.2.1', pod.netns],
      ];
      for (const [way, address, from] of ways)
        assert.match(await untilAnswers(sctp(address, 80), from), /^one /, way);
      assert.match(await untilAnswers(sctp('192.0.2.1', 80), outside), /192\.0\.2\.2/, 'the source is kept');
      await portmap.check(deps, request);
      await portmap.del(deps, request);
      assert.equal(await ask(sctp('192.0.2.1', 80), outside), '');
      assert.doesNotMatch(ruleset(), /gantry_ports/);
    });
  }
} else {
  const missing = ['/usr/bin/socat', '/usr/sbin/nft', '/usr/lib/cni/bridge'].find(
    (path) => !existsSync(path),
  );
  const skip = missing === undefined ? false : `${missing} is not installed`;
  let status: number | undefined;
  const runOnce = (): number => (status ??= runOnStage(import.meta.filename));
  test('VLANs on a bridge', { skip }, (t) => {
    if (filtersVlans()) assert.equal(runOnce(), 0);
    else t.skip('this kernel has no VLAN filtering in bridges');
  });
  test('host ports of SCTP', { skip }, (t) => {
    if (speaksSctp()) assert.equal(runOnce(), 0);
    else t.skip('this kernel has no SCTP');
  });
}

function filtersVlans(): boolean {
  using netns = new ThrowawayNetns();
  const made = spawnSync('ip', [
    '-n',
    netns.name,
    'link',
    'add',
    'br0',
    'type',
    'bridge',
    'vlan_filtering',
    '1',
  ]);
  return made.status === 0;
}

/** Asks for a socket, which loads the kernel's module where there is one; nobody listens. */
function speaksSctp(): boolean {
  const argv = ['-u', 'OPEN:/dev/null', 'SCTP4:127.0.0.1:1'];
  const { stderr } = spawnSync('socat', argv, { encoding: 'utf8', timeout: 10_000 });
  return !stderr.includes('Protocol not supported');
}
