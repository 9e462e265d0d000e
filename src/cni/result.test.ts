import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readResult, writeResult } from './result.ts';

const modern = {
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1400, sandbox: '/run/ns', pciID: '0000:00:1f.6' },
  ],
  ips: [
    { interface: 0, address: '10.1.2.3/24', gateway: '10.1.2.1' },
    { interface: 0, address: 'fd00::3/64' },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '10.1.2.1', priority: 5 }],
  dns: { nameservers: ['10.0.0.10'], search: ['svc'], options: [] },
};

test('a result goes to the version of the list and back', () => {
  const old = writeResult(readResult(modern, '1.1.0'), '0.4.0');
  assert.deepEqual(old, {
    cniVersion: '0.4.0',
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/run/ns' }],
    ips: [
      { version: '4', interface: 0, address: '10.1.2.3/24', gateway: '10.1.2.1' },
      { version: '6', interface: 0, address: 'fd00::3/64' },
    ],
    routes: modern.routes,
    dns: modern.dns,
  });
  const again = readResult(old, '1.1.0');
  assert.deepEqual([again.cniVersion, again.ips], ['1.1.0', modern.ips]);
});

test('keys that only a newer plugin knows reach the next plugin', () => {
  assert.deepEqual(writeResult(readResult(modern, '1.1.0'), '1.1.0'), modern);
});

test('empty and null parts are the same as absent ones', () => {
  const result = readResult(
    { interfaces: null, ips: [{ address: '10.0.0.1/8', interface: null, gateway: '' }], dns: {} },
    '0.3.1',
  );
  assert.deepEqual(result, {
    cniVersion: '1.1.0',
    interfaces: [],
    ips: [{ address: '10.0.0.1/8' }],
    routes: [],
    dns: { nameservers: [], search: [], options: [] },
  });
  assert.deepEqual(writeResult(result, '1.0.0'), { cniVersion: '1.0.0', ips: [{ address: '10.0.0.1/8' }] });
});

test('a result that cannot be believed is refused by its key', () => {
  assert.throws(
    () => readResult({ ips: [{ address: '10.0.0.1' }] }, '1.0.0'),
    /ips\.0\.address: must be an address/,
  );
  assert.throws(
    () => readResult({ ips: [{ address: '10.0.0.1/8', interface: 2 }] }, '1.0.0'),
    /interface 2 is not in the result/,
  );
  assert.throws(() => readResult({ cniVersion: '9.0.0' }, '1.0.0'), /CNI version "9\.0\.0"/);
  assert.throws(() => readResult([], '1.0.0'), /result: /);
});
