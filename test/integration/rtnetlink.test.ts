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

test('a veth has its peer in the other namespace at once', async () => {
  await withNetns(async ({ netns, socket }) => {
    using other = new ThrowawayNetns();
    const fd = openSync(other.path, 'r');
    await createBridge(socket, { name: 'br0', up: true });
    const master = await indexOf(socket, 'br0');
    await createVeth(socket, {
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

    const link = await getLink(socket, 'host0');
    assert.ok(link);
    assert.equal(link.kind, 'veth');
    assert.equal(link.masterIndex, master);
    assert.equal(link.mac, near['address']);
    assert.equal(link.linkIndex, far['ifindex']);
    assert.notEqual(link.linkNetnsId, undefined);
    assert.deepEqual((await listLinks(socket)).map(({ name }) => name).toSorted(), ['br0', 'host0', 'lo']);

    await deleteLink(socket, link.index);
    assert.equal(await getLink(socket, 'host0'), undefined);
    assert.deepEqual(
      other.ip('link', 'show').map((each) => each['ifname']),
      ['lo'],
    );
  });
});

test('a link is changed: up, name, mtu, mac, promiscuous, master, namespace', async () => {
  await withNetns(async ({ netns, socket }) => {
    using other = new ThrowawayNetns();
    await createVeth(socket, { name: 'a', peerName: 'b' });
    await createBridge(socket, { name: 'br0' });
    const index = await indexOf(socket, 'a');
    const master = await indexOf(socket, 'br0');
    await setLink(socket, { index, name: 'c', mtu: 1300, mac: '02:00:00:00:00:0a' });
    await setLink(socket, { index, up: true, promisc: true, master, alias: 'pod one' });
    const shown = first(netns.ip('link', 'show', 'dev', 'c'));
    assert.deepEqual(
      [shown['mtu'], shown['address'], shown['master'], shown['ifalias']],
      [1300, '02:00:00:00:00:0a', 'br0', 'pod one'],
    );
    assert.ok((shown['flags'] as string[]).includes('PROMISC'));
    assert.equal((await getLink(socket, index))?.alias, 'pod one');
    // The bridge is one user of promiscuous mode, we are the other.
    assert.equal((await getLink(socket, index))?.promiscuity, 2);
    await setLink(socket, { index, up: false, promisc: false, master: 0 });
    assert.equal((await getLink(socket, 'c'))?.masterIndex, undefined);
    assert.equal((await getLink(socket, 'c'))?.isUp, false);
    const fd = openSync(other.path, 'r');
    await setLink(socket, { index, netnsFd: fd });
    closeSync(fd);
    assert.equal(await getLink(socket, 'c'), undefined);
    assert.equal(other.ip('link', 'show', 'dev', 'c').length, 1);
  });
});

test('a bridge port is set to hairpin, isolated, without learning', async () => {
  await withNetns(async ({ netns, socket }) => {
    await createBridge(socket, { name: 'br0' });
    await createVeth(socket, { name: 'a', peerName: 'b', master: await indexOf(socket, 'br0') });
    const index = await indexOf(socket, 'a');
    await setBridgePort(socket, { index, hairpin: true, isolated: true, learning: false });
    const port = first(netns.bridge('link', 'show', 'dev', 'a'));
    assert.deepEqual([port['hairpin'], port['isolated'], port['learning']], [true, true, false]);
    assert.deepEqual((await getLink(socket, 'a'))?.bridgePort, {
      state: 0,
      hairpin: true,
      isolated: true,
      learning: false,
    });
    await setBridgePort(socket, { index, hairpin: false });
    assert.equal((await getLink(socket, 'a'))?.bridgePort?.hairpin, false);
    assert.equal((await getLink(socket, 'a'))?.bridgePort?.isolated, true);
  });
});

test('vxlan with forwarding and neighbour entries, as an overlay needs them', async () => {
  await withNetns(async ({ netns, socket }) => {
    await createVeth(socket, { name: 'under', peerName: 'peer', up: true });
    await createVxlan(socket, {
      name: 'vx1',
      vni: 42,
      port: 8472,
      local: requireIp('192.0.2.1', 'local'),
      underlay: await indexOf(socket, 'under'),
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
    const vxlan = (await getLink(socket, 'vx1'))?.vxlan;
    assert.deepEqual([vxlan?.vni, vxlan?.port, vxlan?.learning], [42, 8472, false]);

    const index = await indexOf(socket, 'vx1');
    const mac = '02:00:00:00:00:07';
    const entry = { index, mac, destination: requireIp('192.0.2.7', 'ip') };
    const neighbour = { index, mac, address: requireIp('10.5.7.0', 'ip') };
    await setForwardingEntry(socket, entry);
    await setForwardingEntry(socket, { ...entry, destination: requireIp('192.0.2.8', 'ip') });
    await setNeighbour(socket, neighbour);
    const fdb = first(netns.bridge('fdb', 'show', 'dev', 'vx1'));
    assert.deepEqual([fdb['mac'], fdb['dst'], fdb['state']], [mac, '192.0.2.8', 'permanent']);
    const arp = first(netns.ip('neigh', 'show', 'dev', 'vx1'));
    assert.deepEqual([arp['dst'], arp['lladdr'], arp['state']], ['10.5.7.0', mac, ['PERMANENT']]);

    const listed = first(await listForwardingEntries(socket, index));
    assert.deepEqual([listed.mac, listed.isPermanent], [mac, true]);
    assert.equal(listed.address && formatIp(listed.address), '192.0.2.8');
    assert.equal((await listNeighbours(socket, { index, family: 4 })).length, 1);
    await deleteForwardingEntry(socket, { ...entry, destination: requireIp('192.0.2.8', 'ip') });
    await deleteNeighbour(socket, neighbour);
    assert.deepEqual(await listForwardingEntries(socket, index), []);
    assert.deepEqual(await listNeighbours(socket, { index, family: 4 }), []);
  });
});

test('a macvlan is made in the other namespace', async () => {
  await withNetns(async ({ socket }) => {
    using other = new ThrowawayNetns();
    await createVeth(socket, { name: 'a', peerName: 'b', up: true });
    const fd = openSync(other.path, 'r');
    await createMacvlan(socket, {
      name: 'mv0',
      parent: await indexOf(socket, 'a'),
      mode: 'bridge',
      netnsFd: fd,
    });
    closeSync(fd);
    const shown = first(other.ip('link', 'show', 'dev', 'mv0'));
    const info = shown['linkinfo'] as { info_kind: string; info_data: { mode: string } };
    assert.deepEqual([info.info_kind, info.info_data.mode], ['macvlan', 'bridge']);
  });
});

test('ipvlan', async (t) => {
  await withNetns(async ({ netns, socket }) => {
    await createVeth(socket, { name: 'a', peerName: 'b', up: true });
    const parent = await indexOf(socket, 'a');
    if (
      !(await hostHas(
        t,
        'ipvlan',
        async () => await createIpvlan(socket, { name: 'iv0', parent, mode: 'l3' }),
      ))
    )
      return;
    const shown = first(netns.ip('link', 'show', 'dev', 'iv0'));
    const info = shown['linkinfo'] as { info_kind: string; info_data: { mode: string } };
    assert.deepEqual([info.info_kind, info.info_data.mode], ['ipvlan', 'l3']);
  });
});

test('dummy', async (t) => {
  await withNetns(async ({ netns, socket }) => {
    if (!(await hostHas(t, 'dummy links', async () => await createDummy(socket, { name: 'd0', up: true }))))
      return;
    assert.equal(netns.ip('link', 'show', 'dev', 'd0').length, 1);
  });
});

test('addresses of both families', async () => {
  await withNetns(async ({ netns, socket }) => {
    await createBridge(socket, { name: 'br0', up: true });
    const index = await indexOf(socket, 'br0');
    const v4 = { index, address: requirePrefix('10.1.2.3/24', 'address') };
    const v6 = { index, address: requirePrefix('fd00::3/64', 'address'), skipDuplicateDetection: true };
    await addAddress(socket, v4);
    await addAddress(socket, v6);
    const shown = first(netns.ip('addr', 'show', 'dev', 'br0'));
    const info = shown['addr_info'] as { local: string; prefixlen: number; broadcast?: string }[];
    assert.ok(
      info.some(
        ({ local, prefixlen, broadcast }) =>
          `${local}/${prefixlen}/${broadcast}` === '10.1.2.3/24/10.1.2.255',
      ),
    );
    assert.ok(info.some(({ local, prefixlen }) => `${local}/${prefixlen}` === 'fd00::3/64'));
    const listed = await listAddresses(socket, { index });
    assert.ok(listed.some(({ address }) => formatPrefix(address) === '10.1.2.3/24'));
    assert.equal(listed.find(({ address }) => formatPrefix(address) === 'fd00::3/64')?.isTentative, false);
    assert.equal((await listAddresses(socket, { index, family: 4 })).length, 1);
    await assert.rejects(async () => await addAddress(socket, v4), { code: 'EEXIST' });
    await deleteAddress(socket, v4);
    await assert.rejects(async () => await deleteAddress(socket, v4), { code: 'EADDRNOTAVAIL' });
    assert.deepEqual(await listAddresses(socket, { index, family: 4 }), []);
  });
});

test('routes of both families: gateway, device, onlink, source, metric, table, mtu', async () => {
  await withNetns(async ({ netns, socket }) => {
    await createVeth(socket, { name: 'a', peerName: 'b', up: true });
    const index = await indexOf(socket, 'a');
    await setLink(socket, { index: await indexOf(socket, 'b'), up: true });
    const address = requirePrefix('10.1.2.3/24', 'address');
    await addAddress(socket, { index, address });
    const skipDuplicateDetection = true;
    await addAddress(socket, {
      index,
      address: requirePrefix('fd00::3/64', 'address'),
      skipDuplicateDetection,
    });

    const gateway = requireIp('10.1.2.1', 'gw');
    const toDefault = { destination: requirePrefix('0.0.0.0/0', 'dst'), via: gateway, index };
    await addRoute(socket, toDefault);
    await assert.rejects(async () => await addRoute(socket, toDefault), { code: 'EEXIST' });
    await addRoute(socket, { ...toDefault, mtu: 1400 }, 'replace');
    await addRoute(socket, {
      destination: requirePrefix('10.7.0.0/16', 'dst'),
      index,
      metric: 7,
      source: address.address,
    });
    await addRoute(socket, {
      destination: requirePrefix('10.8.0.0/24', 'dst'),
      via: requireIp('10.99.0.1', 'via'),
      index,
      onlink: true,
    });
    await addRoute(socket, { destination: requirePrefix('10.9.0.0/24', 'dst'), index, table: 1000 });
    await addRoute(socket, {
      destination: requirePrefix('::/0', 'dst'),
      via: requireIp('fd00::1', 'via'),
      index,
    });

    const shown = netns.ip('-4', 'route', 'show', 'table', 'all');
    const find = (dst: string): Record<string, unknown> | undefined =>
      shown.find((route) => route['dst'] === dst && route['type'] === 'unicast');
    assert.equal(find('default')?.['gateway'], '10.1.2.1');
    assert.deepEqual(find('default')?.['metrics'], [{ mtu: 1400 }]);
    assert.deepEqual([find('10.7.0.0/16')?.['metric'], find('10.7.0.0/16')?.['prefsrc']], [7, '10.1.2.3']);
    assert.deepEqual(find('10.8.0.0/24')?.['flags'], ['onlink']);
    assert.equal(find('10.9.0.0/24')?.['table'], '1000');
    assert.equal(netns.ip('-6', 'route', 'show', 'default')[0]?.['gateway'], 'fd00::1');

    assert.ok((await listRoutes(socket, { family: 4 })).some((route) => route.onlink === true));
    assert.equal((await listRoutes(socket, { table: 1000 })).length, 1);
    const found = await lookupRoute(socket, requireIp('192.0.2.1', 'ip'));
    assert.equal(found?.via && formatIp(found.via), '10.1.2.1');
    await deleteRoute(socket, toDefault);
    await assert.rejects(async () => await deleteRoute(socket, toDefault), { code: 'ESRCH' });
    await assert.rejects(async () => await lookupRoute(socket, requireIp('192.0.2.1', 'ip')), {
      code: 'ENETUNREACH',
    });
  });
});

test('an error carries errno, operation, name and the sentence of the kernel', async () => {
  await withNetns(async ({ socket }) => {
    await createBridge(socket, { name: 'br0' });
    await assert.rejects(async () => await createBridge(socket, { name: 'br0' }), {
      name: 'SyscallError',
      code: 'EEXIST',
      syscall: 'RTM_NEWLINK',
      path: 'bridge br0',
    });
    await assert.rejects(
      async () => await addAddress(socket, { index: 4711, address: requirePrefix('10.0.0.1/8', 'address') }),
      /Device not found \(ENODEV\)/,
    );
    const far = { destination: requirePrefix('0.0.0.0/0', 'dst'), via: requireIp('192.0.2.1', 'gw') };
    await assert.rejects(async () => await addRoute(socket, far), /gateway.*\(ENETUNREACH\)/);
    assert.equal(await getLink(socket, 'a-name-longer-than-any-link'), undefined);
    assert.equal(await getLink(socket, 4711), undefined);
  });
});

test('a list of many parts is whole', async () => {
  await withNetns(async ({ socket }) => {
    for (let pair = 0; pair < 150; pair += 1)
      await createVeth(socket, { name: `a${pair}`, peerName: `b${pair}` });
    assert.equal((await listLinks(socket)).length, 301);
  });
});
