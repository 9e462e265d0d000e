/** Every operation against the kernel, with iproute2 as the witness that has nothing of ours. Needs root. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { first, hostHas, indexOf, withNetns } from '../fixtures/netlink-stage.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';
import { formatIp, formatPrefix, requireIp, requirePrefix } from '../../src/lib/ip-address.ts';
import { addAddress, deleteAddress, listAddresses } from '../../src/linux/netlink/addresses.ts';
import {
  createBridge,
  createDummy,
  createIpvlan,
  createMacvlan,
  createVeth,
  createVxlan,
  deleteLink,
  deleteLinkSlowly,
  getLink,
  listLinks,
  setBridgePort,
  setLink,
} from '../../src/linux/netlink/links.ts';
import {
  deleteForwardingEntry,
  deleteNeighbour,
  listForwardingEntries,
  listNeighbours,
  setForwardingEntry,
  setNeighbour,
} from '../../src/linux/netlink/neighbours.ts';
import { addRoute, deleteRoute, listRoutes, lookupRoute } from '../../src/linux/netlink/routes.ts';
import { RouteSocket } from '../../src/linux/netlink/socket.ts';
import { Poller } from '../../src/linux/poll.ts';

test('a veth has its peer in the other namespace at once', () => {
  withNetns(({ netns, socket }) => {
    using other = new ThrowawayNetns();
    const fd = openSync(other.path, 'r');
    createBridge(socket, { name: 'br0', up: true });
    const master = indexOf(socket, 'br0');
    createVeth(socket, {
      name: 'host0',
      peerName: 'eth0',
      peerNetnsFd: fd,
      mtu: 1400,
      mac: '02:00:00:00:00:09',
      master,
      up: true,
    });
    closeSync(fd);
    const near = first(netns.ip('link', 'show', 'dev', 'host0'));
    assert.equal(near['mtu'], 1400);
    assert.equal(near['master'], 'br0');
    assert.ok((near['flags'] as string[]).includes('UP'));
    const far = first(other.ip('link', 'show', 'dev', 'eth0'));
    assert.equal(far['address'], '02:00:00:00:00:09');
    assert.equal(far['mtu'], 1400);
    assert.equal(far['link_index'], near['ifindex']);

    const link = getLink(socket, 'host0');
    assert.ok(link);
    assert.equal(link.kind, 'veth');
    assert.equal(link.masterIndex, master);
    assert.equal(link.mac, near['address']);
    assert.equal(link.linkIndex, far['ifindex']);
    assert.notEqual(link.linkNetnsId, undefined);
    assert.deepEqual(
      listLinks(socket)
        .map(({ name }) => name)
        .toSorted(),
      ['br0', 'host0', 'lo'],
    );

    deleteLink(socket, link.index);
    assert.equal(getLink(socket, 'host0'), undefined);
    assert.deepEqual(
      other.ip('link', 'show').map((each) => each['ifname']),
      ['lo'],
    );
  });
});

test('a link is changed: up, name, mtu, mac, promiscuous, master, namespace', () => {
  withNetns(({ netns, socket }) => {
    using other = new ThrowawayNetns();
    createVeth(socket, { name: 'a', peerName: 'b' });
    createBridge(socket, { name: 'br0' });
    const index = indexOf(socket, 'a');
    const master = indexOf(socket, 'br0');
    setLink(socket, { index, name: 'c', mtu: 1300, mac: '02:00:00:00:00:0a' });
    setLink(socket, { index, up: true, promisc: true, master, alias: 'pod one' });
    const shown = first(netns.ip('link', 'show', 'dev', 'c'));
    assert.deepEqual(
      [shown['mtu'], shown['address'], shown['master'], shown['ifalias']],
      [1300, '02:00:00:00:00:0a', 'br0', 'pod one'],
    );
    assert.ok((shown['flags'] as string[]).includes('PROMISC'));
    assert.equal(getLink(socket, index)?.alias, 'pod one');
    // The bridge is one user of promiscuous mode, we are the other.
    assert.equal(getLink(socket, index)?.promiscuity, 2);
    setLink(socket, { index, up: false, promisc: false, master: 0 });
    assert.equal(getLink(socket, 'c')?.masterIndex, undefined);
    assert.equal(getLink(socket, 'c')?.isUp, false);
    const fd = openSync(other.path, 'r');
    setLink(socket, { index, netnsFd: fd });
    closeSync(fd);
    assert.equal(getLink(socket, 'c'), undefined);
    assert.equal(other.ip('link', 'show', 'dev', 'c').length, 1);
  });
});

test('a bridge port is set to hairpin, isolated, without learning', () => {
  withNetns(({ netns, socket }) => {
    createBridge(socket, { name: 'br0' });
    createVeth(socket, { name: 'a', peerName: 'b', master: indexOf(socket, 'br0') });
    const index = indexOf(socket, 'a');
    setBridgePort(socket, { index, hairpin: true, isolated: true, learning: false });
    const port = first(netns.bridge('link', 'show', 'dev', 'a'));
    assert.deepEqual([port['hairpin'], port['isolated'], port['learning']], [true, true, false]);
    assert.deepEqual(getLink(socket, 'a')?.bridgePort, {
      state: 0,
      hairpin: true,
      isolated: true,
      learning: false,
    });
    setBridgePort(socket, { index, hairpin: false });
    assert.equal(getLink(socket, 'a')?.bridgePort?.hairpin, false);
    assert.equal(getLink(socket, 'a')?.bridgePort?.isolated, true);
  });
});

test('vxlan with forwarding and neighbour entries, as an overlay needs them', () => {
  withNetns(({ netns, socket }) => {
    createVeth(socket, { name: 'under', peerName: 'peer', up: true });
    createVxlan(socket, {
      name: 'vx1',
      vni: 42,
      port: 8472,
      local: requireIp('192.0.2.1', 'local'),
      underlay: indexOf(socket, 'under'),
      learning: false,
      mtu: 1400,
      up: true,
    });
    const shown = first(netns.ip('link', 'show', 'dev', 'vx1'));
    const info = (shown['linkinfo'] as { info_data: Record<string, unknown> }).info_data;
    assert.deepEqual(
      [info['id'], info['port'], info['local'], info['learning'], info['link']],
      [42, 8472, '192.0.2.1', false, 'under'],
    );
    const vxlan = getLink(socket, 'vx1')?.vxlan;
    assert.deepEqual([vxlan?.vni, vxlan?.port, vxlan?.learning], [42, 8472, false]);

    const index = indexOf(socket, 'vx1');
    const mac = '02:00:00:00:00:07';
    const entry = { index, mac, destination: requireIp('192.0.2.7', 'ip') };
    const neighbour = { index, mac, address: requireIp('10.5.7.0', 'ip') };
    setForwardingEntry(socket, entry);
    setForwardingEntry(socket, { ...entry, destination: requireIp('192.0.2.8', 'ip') });
    setNeighbour(socket, neighbour);
    const fdb = first(netns.bridge('fdb', 'show', 'dev', 'vx1'));
    assert.deepEqual([fdb['mac'], fdb['dst'], fdb['state']], [mac, '192.0.2.8', 'permanent']);
    const arp = first(netns.ip('neigh', 'show', 'dev', 'vx1'));
    assert.deepEqual([arp['dst'], arp['lladdr'], arp['state']], ['10.5.7.0', mac, ['PERMANENT']]);

    const listed = first(listForwardingEntries(socket, index));
    assert.deepEqual([listed.mac, listed.isPermanent], [mac, true]);
    assert.equal(listed.address && formatIp(listed.address), '192.0.2.8');
    assert.equal(listNeighbours(socket, { index, family: 4 }).length, 1);
    deleteForwardingEntry(socket, { ...entry, destination: requireIp('192.0.2.8', 'ip') });
    deleteNeighbour(socket, neighbour);
    assert.deepEqual(listForwardingEntries(socket, index), []);
    assert.deepEqual(listNeighbours(socket, { index, family: 4 }), []);
  });
});

test('a macvlan is made in the other namespace', () => {
  withNetns(({ socket }) => {
    using other = new ThrowawayNetns();
    createVeth(socket, { name: 'a', peerName: 'b', up: true });
    const fd = openSync(other.path, 'r');
    createMacvlan(socket, { name: 'mv0', parent: indexOf(socket, 'a'), mode: 'bridge', netnsFd: fd });
    closeSync(fd);
    const shown = first(other.ip('link', 'show', 'dev', 'mv0'));
    const info = shown['linkinfo'] as { info_kind: string; info_data: { mode: string } };
    assert.deepEqual([info.info_kind, info.info_data.mode], ['macvlan', 'bridge']);
  });
});

test('ipvlan', (t) => {
  withNetns(({ netns, socket }) => {
    createVeth(socket, { name: 'a', peerName: 'b', up: true });
    const parent = indexOf(socket, 'a');
    if (!hostHas(t, 'ipvlan', () => createIpvlan(socket, { name: 'iv0', parent, mode: 'l3' }))) return;
    const shown = first(netns.ip('link', 'show', 'dev', 'iv0'));
    const info = shown['linkinfo'] as { info_kind: string; info_data: { mode: string } };
    assert.deepEqual([info.info_kind, info.info_data.mode], ['ipvlan', 'l3']);
  });
});

test('dummy', (t) => {
  withNetns(({ netns, socket }) => {
    if (!hostHas(t, 'dummy links', () => createDummy(socket, { name: 'd0', up: true }))) return;
    assert.equal(netns.ip('link', 'show', 'dev', 'd0').length, 1);
  });
});

test('addresses of both families', () => {
  withNetns(({ netns, socket }) => {
    createBridge(socket, { name: 'br0', up: true });
    const index = indexOf(socket, 'br0');
    const v4 = { index, address: requirePrefix('10.1.2.3/24', 'address') };
    const v6 = { index, address: requirePrefix('fd00::3/64', 'address'), skipDuplicateDetection: true };
    addAddress(socket, v4);
    addAddress(socket, v6);
    const shown = first(netns.ip('addr', 'show', 'dev', 'br0'));
    const info = shown['addr_info'] as { local: string; prefixlen: number; broadcast?: string }[];
    assert.ok(
      info.some(
        ({ local, prefixlen, broadcast }) =>
          `${local}/${prefixlen}/${broadcast}` === '10.1.2.3/24/10.1.2.255',
      ),
    );
    assert.ok(info.some(({ local, prefixlen }) => `${local}/${prefixlen}` === 'fd00::3/64'));
    const listed = listAddresses(socket, { index });
    assert.ok(listed.some(({ address }) => formatPrefix(address) === '10.1.2.3/24'));
    assert.equal(listed.find(({ address }) => formatPrefix(address) === 'fd00::3/64')?.isTentative, false);
    assert.equal(listAddresses(socket, { index, family: 4 }).length, 1);
    assert.throws(() => addAddress(socket, v4), { code: 'EEXIST' });
    deleteAddress(socket, v4);
    assert.throws(() => deleteAddress(socket, v4), { code: 'EADDRNOTAVAIL' });
    assert.deepEqual(listAddresses(socket, { index, family: 4 }), []);
  });
});

test('routes of both families: gateway, device, onlink, source, metric, table, mtu', () => {
  withNetns(({ netns, socket }) => {
    createVeth(socket, { name: 'a', peerName: 'b', up: true });
    const index = indexOf(socket, 'a');
    setLink(socket, { index: indexOf(socket, 'b'), up: true });
    const address = requirePrefix('10.1.2.3/24', 'address');
    addAddress(socket, { index, address });
    const skipDuplicateDetection = true;
    addAddress(socket, { index, address: requirePrefix('fd00::3/64', 'address'), skipDuplicateDetection });

    const gateway = requireIp('10.1.2.1', 'gw');
    const toDefault = { destination: requirePrefix('0.0.0.0/0', 'dst'), via: gateway, index };
    addRoute(socket, toDefault);
    assert.throws(() => addRoute(socket, toDefault), { code: 'EEXIST' });
    addRoute(socket, { ...toDefault, mtu: 1400 }, 'replace');
    addRoute(socket, {
      destination: requirePrefix('10.7.0.0/16', 'dst'),
      index,
      metric: 7,
      source: address.address,
    });
    addRoute(socket, {
      destination: requirePrefix('10.8.0.0/24', 'dst'),
      via: requireIp('10.99.0.1', 'via'),
      index,
      onlink: true,
    });
    addRoute(socket, { destination: requirePrefix('10.9.0.0/24', 'dst'), index, table: 1000 });
    addRoute(socket, { destination: requirePrefix('::/0', 'dst'), via: requireIp('fd00::1', 'via'), index });

    const shown = netns.ip('-4', 'route', 'show', 'table', 'all');
    const find = (dst: string): Record<string, unknown> | undefined =>
      shown.find((route) => route['dst'] === dst && route['type'] === 'unicast');
    assert.equal(find('default')?.['gateway'], '10.1.2.1');
    assert.deepEqual(find('default')?.['metrics'], [{ mtu: 1400 }]);
    assert.deepEqual([find('10.7.0.0/16')?.['metric'], find('10.7.0.0/16')?.['prefsrc']], [7, '10.1.2.3']);
    assert.deepEqual(find('10.8.0.0/24')?.['flags'], ['onlink']);
    assert.equal(find('10.9.0.0/24')?.['table'], '1000');
    assert.equal(netns.ip('-6', 'route', 'show', 'default')[0]?.['gateway'], 'fd00::1');

    assert.ok(listRoutes(socket, { family: 4 }).some((route) => route.onlink === true));
    assert.equal(listRoutes(socket, { table: 1000 }).length, 1);
    const found = lookupRoute(socket, requireIp('192.0.2.1', 'ip'));
    assert.equal(found?.via && formatIp(found.via), '10.1.2.1');
    deleteRoute(socket, toDefault);
    assert.throws(() => deleteRoute(socket, toDefault), { code: 'ESRCH' });
    assert.throws(() => lookupRoute(socket, requireIp('192.0.2.1', 'ip')), { code: 'ENETUNREACH' });
  });
});

test('an error carries errno, operation, name and the sentence of the kernel', () => {
  withNetns(({ socket }) => {
    createBridge(socket, { name: 'br0' });
    assert.throws(() => createBridge(socket, { name: 'br0' }), {
      name: 'SyscallError',
      code: 'EEXIST',
      syscall: 'RTM_NEWLINK',
      path: 'bridge br0',
    });
    assert.throws(
      () => addAddress(socket, { index: 4711, address: requirePrefix('10.0.0.1/8', 'address') }),
      /Device not found \(ENODEV\)/,
    );
    const far = { destination: requirePrefix('0.0.0.0/0', 'dst'), via: requireIp('192.0.2.1', 'gw') };
    assert.throws(() => addRoute(socket, far), /gateway.*\(ENETUNREACH\)/);
    assert.equal(getLink(socket, 'a-name-longer-than-any-link'), undefined);
    assert.equal(getLink(socket, 4711), undefined);
  });
});

test('a list of many parts is whole', () => {
  withNetns(({ socket }) => {
    for (let pair = 0; pair < 150; pair += 1) createVeth(socket, { name: `a${pair}`, peerName: `b${pair}` });
    assert.equal(listLinks(socket).length, 301);
  });
});

function createdBridge(socket: RouteSocket): number {
  createBridge(socket, { name: 'br' });
  return indexOf(socket, 'br');
}

test('links are deleted without blocking the event loop', async () => {
  using netns = new ThrowawayNetns();
  using socket = netns.inside(() => RouteSocket.open());
  await using poller = new Poller();
  const names = ['a', 'b', 'c', 'd', 'e'];
  const bridge = createdBridge(socket);
  for (const name of names) {
    createVeth(socket, { name, peerName: `${name}-peer` });
    setLink(socket, { index: indexOf(socket, name), master: bridge, up: true });
  }
  await Promise.all(
    names.map(async (name) => {
      using own = netns.inside(() => RouteSocket.open());
      await deleteLinkSlowly(own, indexOf(socket, name), poller);
      assert.deepEqual([getLink(socket, name), getLink(socket, `${name}-peer`)], [undefined, undefined]);
      // The name can be used again at once.
      createVeth(socket, { name, peerName: `${name}-peer` });
      deleteLink(socket, indexOf(socket, name));
    }),
  );
  assert.deepEqual(
    listLinks(socket).map(({ name }) => name),
    ['lo', 'br'],
  );
  using failing = netns.inside(() => RouteSocket.open());
  await assert.rejects(deleteLinkSlowly(failing, 4711, poller), { code: 'ENODEV' });
});

test('a closed socket says so', () => {
  withNetns(({ socket }) => {
    socket[Symbol.dispose]();
    assert.throws(() => listLinks(socket), { code: 'EBADF' });
  });
});
