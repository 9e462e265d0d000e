import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CpuRates } from './cpu-rates.ts';
import { parseNetworkCounters } from './network-counters.ts';

const second = 1_000_000_000n;

test('the rate is an average between readings a second or more apart', () => {
  const rates = new CpuRates();
  assert.equal(rates.rate('a', { usageNs: 0n, atNs: 0n }), undefined);
  assert.equal(rates.rate('a', { usageNs: second / 2n, atNs: second / 10n }), undefined);
  assert.equal(rates.rate('a', { usageNs: 2n * second, atNs: 4n * second }), 500_000_000);
  assert.equal(rates.rate('a', { usageNs: 9n * second, atNs: 4n * second + 1n }), 500_000_000);
  assert.equal(rates.rate('b', { usageNs: 5n, atNs: 9n * second }), undefined);
});

test('a counter that ran backwards and a base from long ago begin anew', () => {
  const rates = new CpuRates();
  rates.rate('a', { usageNs: 100n, atNs: 0n });
  assert.equal(rates.rate('a', { usageNs: 50n, atNs: 2n * second }), undefined);
  assert.equal(rates.rate('a', { usageNs: 60n, atNs: 1000n * second }), undefined);
  rates.forget('a');
  assert.equal(rates.rate('a', { usageNs: 70n, atNs: 1001n * second }), undefined);
});

test('interfaces are read without loopback', () => {
  const text = [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo:      10       1    0    0    0     0          0         0       10       1    0    0    0     0       0          0',
    '  eth0:18446744073709551615 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0',
  ].join('\n');
  assert.deepEqual(parseNetworkCounters(text), [
    {
      name: 'eth0',
      receivedBytes: 18_446_744_073_709_551_615n,
      receivedPackets: 2n,
      receiveErrors: 3n,
      receiveDropped: 4n,
      sentBytes: 5n,
      sentPackets: 6n,
      sendErrors: 7n,
      sendDropped: 8n,
    },
  ]);
  assert.deepEqual(parseNetworkCounters('nonsense: 1 2\n'), []);
  assert.ok(parseNetworkCounters(readFileSync('/proc/net/dev', 'utf8')).every(({ name }) => name !== 'lo'));
});
