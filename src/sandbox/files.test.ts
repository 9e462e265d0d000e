import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { hostsText, resolvConfText } from './files.ts';

test('hosts names the pod by each of its addresses', () => {
  const lines = hostsText('web', ['10.88.0.2', 'fd00::2']).split('\n');
  assert.ok(lines.includes('127.0.0.1\tlocalhost'));
  assert.deepEqual(lines.slice(-3), ['10.88.0.2\tweb', 'fd00::2\tweb', '']);
});

test('resolv.conf has a line for each server and one for searches and options', () => {
  const text = resolvConfText({
    servers: ['10.0.0.10', '::1'],
    searches: ['a.local', 'local'],
    options: ['ndots:5', 'edns0'],
  });
  assert.equal(text, 'nameserver 10.0.0.10\nnameserver ::1\nsearch a.local local\noptions ndots:5 edns0\n');
  assert.equal(resolvConfText({ servers: [], searches: [], options: [] }), '');
});

test('an entry cannot add a line of its own', () => {
  assert.throws(
    () => resolvConfText({ servers: ['10.0.0.10\nnameserver 6.6.6.6'], searches: [], options: [] }),
    (error: Error) => isKind(error, 'invalid-argument') && /dns_config\.servers/.test(error.message),
  );
});
