import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireIp, requirePrefix } from '../../lib/ip-address.ts';
import { decodeAddress, encodeAddress } from './addresses.ts';
import { decodePortVlans, encodePortVlan } from './bridge-vlans.ts';
import { decodeLink, encodeBridgePort, encodeLinkChange, encodeNewLink } from './link-message.ts';
import {
  AttributeWriter,
  decodeAcknowledgement,
  decodeAttributeList,
  decodeMessages,
  encodeRequest,
} from './message.ts';
import { decodeNeighbour, encodeForwardingEntry, encodeNeighbour } from './neighbours.ts';
import { decodeRoute, encodeRoute } from './routes.ts';

function hex(...parts: readonly string[]): string {
  return parts.join('').replaceAll(' ', '');
}

test('a request is a 16 byte header and its payload', () => {
  const bytes = encodeRequest({ type: 16, flags: 0x605, payload: Buffer.from('aabb', 'hex') }, 7);
  assert.equal(bytes.toString('hex'), hex('12000000 1000 0506 07000000 00000000', 'aabb'));
});

test('a veth with its peer in another namespace is one request', () => {
  const payload = encodeNewLink(
    { name: 'v0', master: 3, up: true },
    { kind: 'veth', peer: { name: 'eth0', netnsFd: 9, mac: '02:00:00:00:00:01' } },
  );
  assert.equal(
    payload.toString('hex'),
    hex(
      '00000000 00000000 01000000 01000000', // ifinfomsg: IFF_UP
      '0700 0300 763000 00', // IFLA_IFNAME
      '0800 0a00 03000000', // IFLA_MASTER
      '4800 1200', // IFLA_LINKINFO
      '0900 0100 7665746800 000000', // IFLA_INFO_KIND veth
      '3800 0200 3400 0100', // IFLA_INFO_DATA, VETH_INFO_PEER
      '00000000 00000000 00000000 00000000', // the peer's ifinfomsg
      '0900 0300 6574683000 000000',
      '0a00 0100 020000000001 0000',
      '0800 1c00 09000000', // IFLA_NET_NS_FD
    ),
  );
});

test('a vxlan carries its port in network byte order', () => {
  const options = { vni: 1, port: 8472, local: requireIp('192.0.2.1', 'local'), learning: false };
  const payload = encodeNewLink({ name: 'x' }, { kind: 'vxlan', options });
  assert.equal(
    payload.subarray(24).toString('hex'),
    hex(
      '3400 1200 0a00 0100 76786c616e00 0000 2400 0200',
      '0800 0100 01000000 0800 0400 c0000201 0500 0700 00 000000 0600 0f00 2118 0000',
    ),
  );
});

test('a change names only the flags that it changes', () => {
  const payload = encodeLinkChange(5, { up: false, promisc: true });
  assert.equal(payload.toString('hex'), hex('00000000 05000000 00010000 01010000'));
});

test('options of a bridge port go as slave data', () => {
  const payload = encodeBridgePort(5, { hairpin: true, isolated: false });
  assert.equal(
    payload.subarray(16).toString('hex'),
    hex('2400 1200 0b00 0400 62726964676500 00 1400 0580 0500 0400 01 000000 0500 2100 00 000000'),
  );
});

test('addresses, routes, neighbours and port VLANs have their kernel form', () => {
  const address = requirePrefix('10.1.2.3/24', 'address');
  assert.equal(
    encodeAddress({ index: 2, address }).toString('hex'),
    hex('02180000 02000000 0800 0200 0a010203 0800 0100 0a010203 0800 0400 0a0102ff'),
  );
  const destination = requirePrefix('10.9.0.0/16', 'destination');
  assert.equal(
    encodeRoute({ destination, via: requireIp('10.1.2.1', 'via'), index: 4, onlink: true }).toString('hex'),
    hex('02100000 fe030001 04000000 0800 0100 0a090000 0800 0500 0a010201 0800 0400 04000000'),
  );
  assert.equal(
    encodeNeighbour({ index: 2, address: requireIp('fd00::1', 'ip'), mac: '02:00:00:00:00:01' }).toString(
      'hex',
    ),
    hex(
      '0a000000 02000000 8000 00 00',
      '1400 0100 fd000000000000000000000000000001 0a00 0200 020000000001 0000',
    ),
  );
  assert.equal(
    encodeForwardingEntry({
      index: 2,
      mac: '02:00:00:00:00:01',
      destination: requireIp('192.0.2.7', 'ip'),
    }).toString('hex'),
    hex('07000000 02000000 8000 02 00 0800 0100 c0000207 0a00 0200 020000000001 0000'),
  );
  assert.equal(
    encodePortVlan(4, { vid: 100, isPvid: true, isUntagged: true }).toString('hex'),
    hex('07000000 04000000 00000000 00000000 1400 1a80 0600 0000 0100 0000 0800 0200 06006400'),
  );
  assert.equal(
    encodePortVlan(4, { vid: 100, isPvid: false, isUntagged: false }, 'bridge').toString('hex'),
    hex('07000000 04000000 00000000 00000000 1400 1a80 0600 0000 0200 0000 0800 0200 00006400'),
  );
});

test('what is written is read back', () => {
  const address = requirePrefix('fd00::5/64', 'address');
  assert.deepEqual(decodeAddress(encodeAddress({ index: 3, address })).address, address);
  const route = {
    destination: requirePrefix('fd01::/64', 'destination'),
    via: requireIp('fd00::1', 'via'),
    index: 3,
    metric: 5,
    table: 1000,
    mtu: 1400,
    advmss: 1300,
    onlink: false,
    scope: 0,
    protocol: 4,
    source: requireIp('fd00::5', 'source'),
  };
  assert.deepEqual(decodeRoute(encodeRoute(route)), route);
  const entry = { index: 2, mac: '02:00:00:00:00:01', destination: requireIp('192.0.2.7', 'ip') };
  assert.deepEqual(decodeNeighbour(encodeForwardingEntry(entry)).address, entry.destination);
  const vlan = { vid: 7, isPvid: false, isUntagged: true };
  assert.deepEqual(decodePortVlans(encodePortVlan(4, vlan)), [vlan]);
  const link = decodeLink(encodeNewLink({ name: 'b', mac: '02:00:00:00:00:02' }, { kind: 'dummy' }));
  assert.deepEqual([link.name, link.kind, link.mac], ['b', 'dummy', '02:00:00:00:00:02']);
});

test('an acknowledgement gives the errno and the sentence of the kernel', () => {
  const sentence = new AttributeWriter().string(1, 'no such thing').take();
  const capped = Buffer.concat([Buffer.from('edffffff', 'hex'), Buffer.alloc(16), sentence]);
  assert.deepEqual(decodeAcknowledgement({ type: 2, flags: 0x300, sequence: 1, payload: capped }), {
    errno: 19,
    message: 'no such thing',
  });
  // Not capped: the whole request, whose length its own header tells, stands in between.
  const request = encodeRequest({ type: 16, flags: 5, payload: Buffer.alloc(6) }, 1);
  const whole = Buffer.concat([Buffer.from('edffffff', 'hex'), request, Buffer.alloc(2), sentence]);
  const echoed = decodeAcknowledgement({ type: 2, flags: 0x200, sequence: 1, payload: whole });
  assert.equal(echoed.message, 'no such thing');
  const done = Buffer.concat([Buffer.from('f0ffffff', 'hex'), sentence]);
  assert.deepEqual(decodeAcknowledgement({ type: 3, flags: 0x202, sequence: 1, payload: done }), {
    errno: 16,
    message: 'no such thing',
  });
  assert.equal(decodeAcknowledgement({ type: 2, flags: 0, sequence: 1, payload: Buffer.alloc(20) }).errno, 0);
});

test('a length that lies is refused, a cut attribute ends the list', () => {
  assert.throws(
    () => decodeMessages(Buffer.from(hex('08000000 1000 0000 00000000 00000000'), 'hex')),
    /netlink message/,
  );
  assert.throws(
    () => decodeMessages(Buffer.from(hex('ff000000 1000 0000 00000000 00000000'), 'hex')),
    /netlink message/,
  );
  assert.deepEqual(decodeAttributeList(Buffer.from(hex('0800 0100 00000000 ff00 0200 00'), 'hex')).length, 1);
  assert.deepEqual(decodeAttributeList(Buffer.from(hex('0000 0100 00000000'), 'hex')), []);
});
