import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formatIp,
  formatPrefix,
  ipFromBytes,
  ipToBytes,
  lastAddressOf,
  networkOf,
  parseIp,
  parsePrefix,
  prefixContains,
  requireIp,
  requirePrefix,
} from './ip-address.ts';

test('addresses have one printed form (RFC 5952)', () => {
  const forms = [
    ['10.1.2.3', '10.1.2.3'],
    ['0.0.0.0', '0.0.0.0'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:1:0:0:0:1', 'fd00:0:0:1::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1::', '2001:0:0:1::'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ];
  for (const [text = '', expected] of forms) assert.equal(formatIp(requireIp(text, 'ip')), expected);
});

test('what is no address is refused', () => {
  for (const text of ['', '10.1', '10.1.2.256', '01.2.3.4', 'fe80::1%eth0', ':::', 'x']) {
    assert.equal(parseIp(text), undefined, text);
  }
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/1e1']) {
    assert.equal(parsePrefix(text), undefined, text);
  }
  assert.throws(() => requireIp('no', 'gateway'), /gateway: "no" is not an IP address/);
});

test('a prefix has a network, a last address and members', () => {
  const prefix = requirePrefix('10.1.2.3/22', 'subnet');
  assert.equal(formatPrefix(networkOf(prefix)), '10.1.0.0/22');
  assert.equal(formatIp(lastAddressOf(prefix)), '10.1.3.255');
  assert.ok(prefixContains(prefix, requireIp('10.1.3.9', 'ip')));
  assert.ok(!prefixContains(prefix, requireIp('10.1.4.0', 'ip')));
  assert.ok(!prefixContains(prefix, requireIp('::1', 'ip')));
  assert.ok(prefixContains(requirePrefix('::/0', 'all'), requireIp('fd00::1', 'ip')));
});

test('bytes are in network order', () => {
  for (const text of ['10.1.2.3', 'fd00::102']) {
    assert.equal(formatIp(ipFromBytes(ipToBytes(requireIp(text, 'ip')))), text);
  }
  assert.equal(ipToBytes(requireIp('0.0.1.2', 'ip')).toString('hex'), '00000102');
});
