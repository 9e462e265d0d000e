/** Counters of interfaces in network namespaces of this kernel. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempDisposableSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { sampleSandboxRecord } from '../../src/containers/testing/sample-records.ts';
import { NamespaceThread } from '../../src/linux/namespace-thread.ts';
import { createVeth, getLink } from '../../src/linux/netlink/links.ts';
import { RouteSocket } from '../../src/linux/netlink/socket.ts';
import type { Sandbox } from '../../src/sandbox/sandbox.ts';
import { parseNetworkCounters } from '../../src/stats/network-counters.ts';
import { PodInterfaces } from '../../src/stats/pod-interfaces.ts';
import { eventually } from '../e2e/engine/wait.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

describe('interfaces of a pod', { timeout: 60_000 }, () => {
  let thread: NamespaceThread;
  before(async () => {
    thread = await NamespaceThread.start();
  });
  after(async () => {
    await thread[Symbol.asyncDispose]();
  });

  const openInterfaces = (): PodInterfaces =>
    new PodInterfaces(async (netns, path) => await thread.openFile(netns, path));
  const namesOf = async (interfaces: PodInterfaces, pod: Sandbox): Promise<string[]> =>
    (await interfaces.read(pod)).map(({ name }) => name).toSorted();

  test('are counted as the pod sees them, those that come later too', async () => {
    using node = new ThrowawayNetns();
    using netns = new ThrowawayNetns();
    using interfaces = openInterfaces();
    const pod = podIn(netns.path);
    assert.deepEqual(await interfaces.read(pod), []);
    connect(node, netns);
    assert.deepEqual(await namesOf(interfaces, pod), ['eth0']);
    // Tens of pairs: more than a page of text.
    netns.run(
      'sh',
      '-ec',
      'for at in $(seq 40); do ip link add pair$at type veth peer name other$at; done; ip link set pair7 name late',
    );
    const names = await namesOf(interfaces, pod);
    assert.equal(names.length, 81);
    assert.ok(names.includes('late') && names.includes('other40'));

    for (const [from, to] of [
      [node, '10.99.0.2'],
      [netns, '10.99.0.1'],
      [netns, '10.99.0.1'],
    ] as const)
      from.run('bash', '-c', `printf x > /dev/udp/${to}/9`);
    const counted = await interfaces.read(pod);
    assert.deepEqual(counted, parseNetworkCounters(netns.run('cat', '/proc/net/dev')));
    const ofPod = counted.find(({ name }) => name === 'eth0');
    assert.ok(ofPod && ofPod.receivedPackets >= 1n && ofPod.sentPackets >= 2n);
  });

  test('do not keep the namespace of a pod that was stopped', async () => {
    using directory = mkdtempDisposableSync(`${tmpdir()}/gantry-pod-interfaces-`);
    using node = new ThrowawayNetns();
    using socket = node.inside(() => RouteSocket.open());
    using interfaces = openInterfaces();
    const { net } = await thread.pin({ kinds: ['net'], directory: `${directory.path}/ns` });
    const pod = podIn(net);
    const netnsFd = openSync(net, 'r');
    await createVeth(socket, { name: 'near', peerName: 'eth0', peerNetnsFd: netnsFd });
    closeSync(netnsFd);
    const isAlive = async (): Promise<boolean> => (await getLink(socket, 'near')) !== undefined;

    assert.deepEqual(await namesOf(interfaces, pod), ['eth0']);
    await thread.unpin([net]);
    assert.deepEqual(await namesOf(interfaces, pod), ['eth0']);
    interfaces.release(pod.id);
    await eventually('the end of the namespace', async () => (await isAlive()) === false || undefined);
    // A reader for which the pod is still ready comes too late.
    assert.deepEqual(await interfaces.read(pod), []);
  });
});

/** A pair of links, silent but for what is sent. */
function connect(node: ThrowawayNetns, pod: ThrowawayNetns): void {
  for (const each of [node, pod]) each.run('sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1');
  node.run('ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
  node.run('ip', 'addr', 'add', '10.99.0.1/24', 'dev', 'near');
  node.run('ip', 'link', 'set', 'near', 'up');
  pod.run('ip', 'addr', 'add', '10.99.0.2/24', 'dev', 'eth0');
  pod.run('ip', 'link', 'set', 'eth0', 'up');
}

function podIn(netns: string): Sandbox {
  return sampleSandboxRecord({ state: { name: 'ready', ips: [], namespaces: { net: netns } } });
}
