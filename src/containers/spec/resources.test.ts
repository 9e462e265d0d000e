import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildFirstResources, buildResources, mergeResources } from './resources.ts';
import { sampleHost } from './testing/sample-input.ts';

const mebibyte = 1024 * 1024;

test('resources: what is not given is not set', () => {
  assert.deepEqual(buildResources({ hugepageLimits: [] }, sampleHost), {});
});

test('resources: a memory limit alone forbids swap, where the kernel counts it', () => {
  const resources = { hugepageLimits: [], memoryLimitBytes: 64 * mebibyte };
  const memory = { limit: 64 * mebibyte, swap: 64 * mebibyte };
  assert.deepEqual(buildResources(resources, sampleHost), { memory });
  const without = { ...sampleHost, swapAccounting: false };
  assert.deepEqual(buildResources(resources, without), { memory: { limit: 64 * mebibyte } });
});

test('resources: shares are brought into the kernel’s bounds', () => {
  const shares = (cpuShares: number) =>
    buildResources({ hugepageLimits: [], cpuShares }, sampleHost).cpu?.shares;
  assert.deepEqual([shares(0), shares(1), shares(1024), shares(1e9)], [2, 2, 1024, 262_144]);
});

test('resources: runtimes in Go need more memory than crun', () => {
  const resources = { hugepageLimits: [], memoryLimitBytes: 2 * mebibyte };
  assert.ok(buildResources(resources, sampleHost).memory);
  assert.throws(() => buildResources(resources, { ...sampleHost, runtimeName: 'runc' }), {
    kind: 'invalid-argument',
    message: /^memory_limit_in_bytes: .*runc/,
  });
});

test('resources: without the hugetlb controller only page limits of zero are left out', () => {
  const host = { ...sampleHost, hugepageSizes: [] };
  const limits = (limitBytes: number) => ({ hugepageLimits: [{ pageSize: '2MB', limitBytes }] });
  assert.deepEqual(buildResources(limits(0), host), {});
  assert.throws(() => buildResources(limits(2 * mebibyte), host), {
    kind: 'failed-precondition',
    message: /^hugepage_limits: .*hugetlb/,
  });
});

test('resources: a new cgroup of v1 has no quota that is to be taken away', () => {
  const resources = { hugepageLimits: [], cpuShares: 2, cpuQuotaUs: -1 };
  assert.deepEqual(buildFirstResources(resources, sampleHost).cpu, { shares: 2, quota: -1 });
  const host = { ...sampleHost, cgroupVersion: 'v1' } as const;
  assert.deepEqual(buildFirstResources(resources, host), { cpu: { shares: 2 } });
  assert.deepEqual(buildFirstResources({ ...resources, cpuQuotaUs: 5000 }, host).cpu, {
    shares: 2,
    quota: 5000,
  });
});

test('resources: an update keeps what it does not name', () => {
  const current = {
    cpuShares: 100,
    memoryLimitBytes: 64 * mebibyte,
    memorySwapLimitBytes: 80 * mebibyte,
    hugepageLimits: [{ pageSize: '2MB', limitBytes: 1 }],
    unified: { 'memory.high': '1', 'pids.max': '5' },
  };
  const update = {
    cpuShares: undefined,
    cpuQuotaUs: 5000,
    memoryLimitBytes: 128 * mebibyte,
    hugepageLimits: [{ pageSize: '1GB', limitBytes: 2 }],
    unified: { 'memory.high': '2' },
  };
  assert.deepEqual(mergeResources(current, update), {
    cpuShares: 100,
    cpuQuotaUs: 5000,
    memoryLimitBytes: 128 * mebibyte,
    memorySwapLimitBytes: undefined,
    hugepageLimits: [
      { pageSize: '2MB', limitBytes: 1 },
      { pageSize: '1GB', limitBytes: 2 },
    ],
    unified: { 'memory.high': '2', 'pids.max': '5' },
  });
});
