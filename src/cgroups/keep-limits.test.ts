import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { HostCgroups } from './host.ts';
import { keepLimits } from './keep-limits.ts';

function directoryOf(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'gantry-limits-'));
  t.after(() => rmSync(root, { recursive: true }));
  return root;
}

/** Fills files that stand for a cgroup's, changes them all, puts them back, and gives what they hold then. */
async function putBack(root: string, host: HostCgroups, before: Readonly<Record<string, string>>) {
  for (const [file, value] of Object.entries(before)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), `${value}\n`);
  }
  const undo = keepLimits(host, ['/one'], ['misc.max']);
  for (const file of Object.keys(before)) writeFileSync(join(root, file), '7\n');
  await undo();
  return Object.fromEntries(
    Object.keys(before).map((file) => [file, readFileSync(join(root, file), 'utf8').trim()]),
  );
}

test('with cgroup v1 every limit of each hierarchy is put back, and nothing else', async (t) => {
  const root = directoryOf(t);
  const controllers = ['cpu', 'cpuset', 'memory', 'pids', 'hugetlb'];
  const mounts = new Map(controllers.map((name) => [name, join(root, name)]));
  const limits = {
    'cpu/one/cpu.shares': '1024',
    'cpu/one/cpu.cfs_quota_us': '-1',
    'cpu/one/cpu.cfs_period_us': '100000',
    'cpuset/one/cpuset.cpus': '0-3',
    'memory/one/memory.limit_in_bytes': '9223372036854771712',
    'memory/one/memory.memsw.limit_in_bytes': '9223372036854771712',
    'pids/one/pids.max': 'max',
    'hugetlb/one/hugetlb.2MB.limit_in_bytes': '9223372036852678656',
    'hugetlb/one/hugetlb.2MB.rsvd.limit_in_bytes': '9223372036852678656',
  };
  const others = { 'memory/one/memory.max_usage_in_bytes': '50', 'hugetlb/one/hugetlb.2MB.failcnt': '5' };
  const host: HostCgroups = { layout: 'legacy', mounts, unifiedRoot: undefined };
  assert.deepEqual(await putBack(root, host, { ...limits, ...others }), {
    ...limits,
    'memory/one/memory.max_usage_in_bytes': '7',
    'hugetlb/one/hugetlb.2MB.failcnt': '7',
  });
});

test('with cgroup v2 those that a change names as well; what there is not stays away', async (t) => {
  const root = directoryOf(t);
  const limits = {
    'one/cpu.weight': '100',
    'one/cpu.max': 'max 100000',
    'one/memory.max': 'max',
    'one/pids.max': '100',
    'one/hugetlb.1GB.max': 'max',
    'one/misc.max': 'sev 5',
  };
  const host: HostCgroups = { layout: 'unified', root, controllers: [] };
  assert.deepEqual(await putBack(root, host, { ...limits, 'one/memory.peak': '50' }), {
    ...limits,
    'one/memory.peak': '7',
  });
});

test('what cannot be put back is told when all the rest has been', async (t) => {
  const root = directoryOf(t);
  const host: HostCgroups = { layout: 'unified', root, controllers: [] };
  mkdirSync(join(root, 'one'));
  for (const file of ['cpu.weight', 'pids.max']) writeFileSync(join(root, 'one', file), '100');
  const undo = keepLimits(host, ['/one']);
  for (const file of ['cpu.weight', 'pids.max']) writeFileSync(join(root, 'one', file), '200');
  rmSync(join(root, 'one/cpu.weight'));
  mkdirSync(join(root, 'one/cpu.weight'));
  await assert.rejects(undo(), { code: 'EISDIR' });
  assert.equal(readFileSync(join(root, 'one/pids.max'), 'utf8'), '100');
  rmSync(join(root, 'one'), { recursive: true });
  await undo();
});
