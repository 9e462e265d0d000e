/** VLANs in a bridge against a kernel that filters them, with iproute2 as the witness. Needs root. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { first, hostHas, indexOf, withNetns } from '../fixtures/netlink-stage.ts';
import {
  addBridgeVlan,
  addPortVlan,
  deletePortVlan,
  listPortVlans,
} from '../../src/linux/netlink/bridge-vlans.ts';
import { createBridge, createVeth, createVlan, getLink } from '../../src/linux/netlink/links.ts';

test('VLANs of a bridge port', async (t) => {
  await withNetns(async ({ netns, socket }) => {
    const isThere = await hostHas(
      t,
      'VLAN filtering in bridges',
      async () => await createBridge(socket, { name: 'br0', vlanFiltering: true }),
    );
    if (!isThere) return;
    assert.equal((await getLink(socket, 'br0'))?.vlanFiltering, true);
    await createVeth(socket, { name: 'a', peerName: 'b', master: await indexOf(socket, 'br0') });
    const index = await indexOf(socket, 'a');
    await addPortVlan(socket, index, { vid: 100, isPvid: true, isUntagged: true });
    await addPortVlan(socket, index, { vid: 200, isPvid: false, isUntagged: false });
    await deletePortVlan(socket, index, 1);
    assert.deepEqual(await listPortVlans(socket, index), [
      { vid: 100, isPvid: true, isUntagged: true },
      { vid: 200, isPvid: false, isUntagged: false },
    ]);
    const shown = first(netns.bridge('vlan', 'show', 'dev', 'a'));
    assert.deepEqual(
      (shown['vlans'] as { vlan: number }[]).map(({ vlan }) => vlan),
      [100, 200],
    );
  });
});

test('a VLAN link on a bridge that takes part in the VLAN', async (t) => {
  await withNetns(async ({ netns, socket }) => {
    const isThere = await hostHas(
      t,
      'VLAN filtering in bridges',
      async () => await createBridge(socket, { name: 'br0', vlanFiltering: true, up: true }),
    );
    if (!isThere) return;
    const parent = await indexOf(socket, 'br0');
    await createVlan(socket, { name: 'br0.100', parent, vid: 100, up: true });
    assert.equal((await getLink(socket, 'br0.100'))?.linkIndex, parent);
    const shown = first(netns.ip('link', 'show', 'dev', 'br0.100'));
    const info = shown['linkinfo'] as { info_kind: string; info_data: { id: number } };
    assert.deepEqual([info.info_kind, info.info_data.id], ['vlan', 100]);
    await addBridgeVlan(socket, parent, 100);
    await addBridgeVlan(socket, parent, 100);
    const { vlans } = first(netns.bridge('vlan', 'show', 'dev', 'br0'));
    assert.deepEqual(
      (vlans as { vlan: number }[]).map(({ vlan }) => vlan),
      [1, 100],
    );
  });
});
