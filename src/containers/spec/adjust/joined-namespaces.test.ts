import assert from 'node:assert/strict';
import { mkdtempDisposableSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isKind } from '../../../lib/errors.ts';
import { lookUpNamespaces } from './joined-namespaces.ts';

test('a namespace of the node is known by whatever path it is named, and what is none', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-joined-'));
  const [link, file] = [join(directory.path, 'link'), join(directory.path, 'file')];
  symlinkSync('/proc/self/ns/net', link);
  writeFileSync(file, '');
  const paths = ['/proc/1/ns/mnt', '/proc//self/ns/pid', link, file, '/proc/self/status', '/nothing'];
  const joined = await lookUpNamespaces({
    remove: [],
    set: [{ type: 'uts' }, ...paths.map((path) => ({ type: 'ipc', path }))],
  });
  assert.deepEqual(Object.fromEntries(joined), {
    '/proc/1/ns/mnt': 'node',
    '/proc/self/ns/pid': 'node',
    [link]: 'node',
    [file]: 'none',
    '/proc/self/status': 'none',
    '/nothing': 'none',
  });
});

test('a relative path of a namespace is refused', async () => {
  await assert.rejects(lookUpNamespaces({ remove: [], set: [{ type: 'ipc', path: 'ns/ipc' }] }), (error) =>
    isKind(error, 'invalid-argument'),
  );
});
