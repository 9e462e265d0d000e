import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { type CgroupResources, resourceWrites, weightOfShares } from './resources.ts';

function written(resources: CgroupResources): string[] {
  return resourceWrites(resources).map(({ file, value }) => `${file}=${value}`);
}

describe('resourceWrites', () => {
  test('nothing asked, nothing written', () => {
    assert.deepEqual(written({}), []);
    assert.deepEqual(written({ cpu: { shares: 0, cpus: '' }, memory: { limit: 0 }, pids: { limit: 0 } }), []);
  });

  test('shares become weights over the whole range', () => {
    assert.deepEqual(
      [1, 2, 1024, 22_000, 262_144, 999_999].map(weightOfShares),
      [1, 1, 39, 840, 10_000, 10_000],
    );
  });

  test('cpu quota and period are one file', () => {
    assert.deepEqual(written({ cpu: { quota: 50_000, period: 200_000 } }), ['cpu.max=50000 200000']);
    assert.deepEqual(written({ cpu: { quota: 50_000 } }), ['cpu.max=50000 100000']);
    assert.deepEqual(written({ cpu: { quota: -1, period: 100_000 } }), ['cpu.max=max 100000']);
    assert.deepEqual(written({ cpu: { period: 50_000 } }), ['cpu.max=max 50000']);
  });

  test('an idle group gets no weight', () => {
    assert.deepEqual(written({ cpu: { idle: 1, shares: 1024 } }), ['cpu.idle=1']);
  });

  test('swap is what is above memory', () => {
    assert.deepEqual(written({ memory: { limit: 100, swap: 150 } }), [
      'memory.swap.max=50',
      'memory.max=100',
    ]);
    assert.deepEqual(written({ memory: { limit: 100, swap: 100 } }), ['memory.swap.max=0', 'memory.max=100']);
    assert.deepEqual(written({ memory: { limit: 100, swap: -1 } }), [
      'memory.swap.max=max',
      'memory.max=100',
    ]);
    assert.deepEqual(written({ memory: { limit: -1, swap: -1, reservation: 7 } }), [
      'memory.swap.max=max',
      'memory.max=max',
      'memory.low=7',
    ]);
  });

  test('io, huge pages, pids, rdma, cpuset', () => {
    assert.deepEqual(
      written({
        blockIO: {
          weight: 1000,
          weightDevice: [{ major: 8, minor: 0, weight: 10 }],
          throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1048576 }],
          throttleWriteIOPSDevice: [{ major: 8, minor: 16, rate: 0 }],
        },
        hugepageLimits: [{ pageSize: '2MB', limit: 4194304 }],
        pids: { limit: -1 },
        rdma: { mlx5_0: { hcaHandles: 2, hcaObjects: 2000 } },
        cpu: { cpus: '0-3,8', mems: '0' },
      }),
      [
        'cpuset.cpus=0-3,8',
        'cpuset.mems=0',
        'pids.max=max',
        'io.weight=default 10000',
        'io.weight=8:0 1',
        'io.max=8:0 rbps=1048576',
        'io.max=8:16 wiops=max',
        'hugetlb.2MB.max=4194304',
        'rdma.max=mlx5_0 hca_handle=2 hca_object=2000',
      ],
    );
  });

  test('unified keys come last, a line each', () => {
    assert.deepEqual(
      written({
        pids: { limit: 5 },
        unified: { 'memory.high': '1000', 'io.max': '8:0 rbps=1\n8:16 rbps=2' },
      }),
      ['pids.max=5', 'memory.high=1000', 'io.max=8:0 rbps=1', 'io.max=8:16 rbps=2'],
    );
  });

  test('nonsense is refused by field', () => {
    const bad: CgroupResources[] = [
      { memory: { limit: 100, swap: 50 } },
      { memory: { swap: 50 } },
      { memory: { limit: -2 } },
      { memory: { limit: 1.5 } },
      { cpu: { shares: Number.NaN } },
      { cpu: { cpus: '0;rm' } },
      { pids: { limit: -5 } },
      { blockIO: { weight: 5 } },
      { hugepageLimits: [{ pageSize: '../2MB', limit: 1 }] },
      { unified: { 'cgroup.procs': '1' } },
      { unified: { '../memory.max': '1' } },
      { unified: { 'memory.max/../../x': '1' } },
      { rdma: { 'a b': {} } },
    ];
    for (const resources of bad) {
      assert.throws(
        () => resourceWrites(resources),
        (error) => isKind(error, 'invalid-argument'),
        JSON.stringify(resources),
      );
    }
  });
});
