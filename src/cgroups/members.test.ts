import assert from 'node:assert/strict';
import { mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { HostCgroups } from './host.ts';
import { countThreads, listMembers } from './members.ts';

test('members and threads are counted with the cgroups below', () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-members-'));
  const root = directory.path;
  mkdirSync(join(root, 'pod/inner'), { recursive: true });
  writeFileSync(join(root, 'pod/cgroup.procs'), '10\n0\n11\n');
  writeFileSync(join(root, 'pod/inner/cgroup.procs'), '12\n10\n');
  writeFileSync(join(root, 'pod/cgroup.threads'), '10\n11\n13\n');
  writeFileSync(join(root, 'pod/inner/cgroup.threads'), '12\n');
  writeFileSync(join(root, 'pod/tasks'), '10\n');
  const unified: HostCgroups = { layout: 'unified', root, controllers: [] };
  assert.deepEqual(
    listMembers(unified, '/pod').toSorted((a, b) => a - b),
    [10, 11, 12],
  );
  assert.equal(countThreads(unified, '/pod'), 4);
  assert.deepEqual(listMembers(unified, '/gone'), []);
  assert.equal(countThreads(unified, '/gone'), undefined);

  const legacy: HostCgroups = {
    layout: 'legacy',
    mounts: new Map([
      ['freezer', '/nowhere'],
      ['memory', root],
    ]),
    unifiedRoot: undefined,
  };
  assert.equal(listMembers(legacy, '/pod').length, 3);
  assert.equal(countThreads(legacy, '/pod'), 1);
  assert.deepEqual(listMembers({ layout: 'legacy', mounts: new Map(), unifiedRoot: undefined }, '/pod'), []);
});
