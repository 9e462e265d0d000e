import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { applyWrites } from './apply.ts';
import type { HostCgroups } from './host.ts';
import { readOomKills } from './oom.ts';
import { readStats, readUsage } from './read-stats.ts';
import type { CgroupStats, CgroupUsage } from './stats.ts';

/** What the frequent reading has to find where the whole one has found this. */
function usedOf({ cpu, memory, pids, pressure }: CgroupStats): CgroupUsage {
  return {
    ...(cpu === undefined ? {} : { cpu: { usageNs: cpu.usageNs } }),
    ...(memory === undefined ? {} : { memory: memoryUsed(memory) }),
    ...(pids === undefined ? {} : { pids: { current: pids.current } }),
    ...(pressure === undefined ? {} : { pressure }),
  };
}

function memoryUsed(memory: NonNullable<CgroupStats['memory']>): NonNullable<CgroupUsage['memory']> {
  const { usageBytes, workingSetBytes, limitBytes, rssBytes, pageFaults, majorPageFaults } = memory;
  const { swapBytes, swapLimitBytes } = memory;
  return {
    usageBytes,
    workingSetBytes,
    rssBytes,
    pageFaults,
    majorPageFaults,
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(swapBytes === undefined ? {} : { swapBytes }),
    ...(swapLimitBytes === undefined ? {} : { swapLimitBytes }),
  };
}

describe('a directory that stands for a cgroup', () => {
  let root: string;
  before(() => {
    root = mkdtempSync(join(tmpdir(), 'gantry-cgroups-'));
  });
  after(() => {
    rmSync(root, { recursive: true });
  });

  function fill(path: string, files: Readonly<Record<string, string>>): void {
    mkdirSync(join(root, path), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), text);
  }

  function unified(): Extract<HostCgroups, { layout: 'unified' }> {
    return { layout: 'unified', root, controllers: ['cpu', 'memory', 'hugetlb'] };
  }

  test('cgroup v2 files become numbers', () => {
    fill('v2', {
      'cpu.stat':
        'usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9\n',
      'memory.current': '1000\n',
      'memory.max': 'max\n',
      'memory.peak': '1200\n',
      'memory.stat':
        'anon 300\nfile 600\nkernel 50\nfile_mapped 7\ninactive_file 400\nactive_file 200\npgfault 11\npgmajfault 3\n',
      'memory.events': 'low 0\nhigh 0\nmax 5\noom 1\noom_kill 2\n',
      'memory.swap.current': '64\n',
      'memory.swap.max': '128\n',
      'pids.current': '3\n',
      'pids.max': '99\n',
      'io.stat':
        '8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n259:1 rbytes=5 wbytes=6 rios=7 wios=8\n',
      'memory.pressure':
        'some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n',
      'hugetlb.2MB.current': '4194304\n',
    });
    assert.deepEqual(readStats(unified(), '/v2'), {
      cpu: {
        usageNs: 1_500_000n,
        userNs: 1_000_000n,
        systemNs: 500_000n,
        periods: 4,
        throttledPeriods: 2,
        throttledNs: 9000n,
      },
      memory: {
        usageBytes: 1000,
        workingSetBytes: 600,
        maxUsageBytes: 1200,
        rssBytes: 300,
        cacheBytes: 600,
        mappedFileBytes: 7,
        kernelBytes: 50,
        activeFileBytes: 200,
        inactiveFileBytes: 400,
        pageFaults: 11n,
        majorPageFaults: 3n,
        limitHits: 5,
        oomKills: 2,
        swapBytes: 64,
        swapLimitBytes: 128,
      },
      pids: { current: 3, limit: 99 },
      io: [
        { major: 8, minor: 0, readBytes: 10n, writeBytes: 20n, reads: 1n, writes: 2n },
        { major: 259, minor: 1, readBytes: 5n, writeBytes: 6n, reads: 7n, writes: 8n },
      ],
      pressure: {
        memory: {
          some: { avg10: 1.5, avg60: 0.25, avg300: 0, totalUs: 77n },
          full: { avg10: 0, avg60: 0, avg300: 0, totalUs: 5n },
        },
      },
      hugepages: [{ pageSize: '2MB', bytes: 4_194_304 }],
    });
    assert.deepEqual(readUsage(unified(), '/v2'), usedOf(readStats(unified(), '/v2')));
    assert.equal(readOomKills(unified(), '/v2'), 2);
  });

  test('cgroup v1 files become the same numbers', () => {
    fill('cpuacct/c', {
      'cpuacct.usage': '123\n',
      'cpuacct.usage_user': '100\n',
      'cpuacct.usage_sys': '23\n',
    });
    fill('memory/c', {
      'memory.usage_in_bytes': '1000\n',
      'memory.limit_in_bytes': '9223372036854771712\n',
      'memory.stat': 'cache 1\ntotal_cache 600\ntotal_rss 300\ntotal_inactive_file 1400\n',
      'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
      'memory.memsw.usage_in_bytes': '1100\n',
    });
    fill('blkio/c', {
      'blkio.throttle.io_service_bytes_recursive': '8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n',
      'blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\nTotal 3\n',
    });
    const mounts = new Map(['cpuacct', 'memory', 'blkio'].map((name) => [name, join(root, name)]));
    const host: HostCgroups = { layout: 'legacy', mounts, unifiedRoot: undefined };
    const stats = readStats(host, '/c');
    assert.equal(stats.cpu?.usageNs, 123n);
    assert.equal(stats.memory?.limitBytes, undefined);
    assert.equal(stats.memory?.workingSetBytes, 0);
    assert.equal(stats.memory?.swapBytes, 100);
    assert.equal(stats.memory?.cacheBytes, 600);
    assert.deepEqual(stats.io, [
      { major: 8, minor: 0, readBytes: 10n, writeBytes: 20n, reads: 1n, writes: 2n },
    ]);
    assert.equal(stats.pids, undefined);
    assert.deepEqual(readUsage(host, '/c'), usedOf(stats));
    assert.equal(readOomKills(host, '/c'), 1);
  });

  test('the cgroup2 hierarchy of a hybrid host gives pressure and huge pages of who is in it', () => {
    const line = 'avg10=0.00 avg60=0.00 avg300=0.00';
    fill('hybrid/full', {
      'cgroup.events': 'populated 1\nfrozen 0\n',
      'cpu.pressure': `some ${line} total=77\nfull ${line} total=5\n`,
      'hugetlb.2MB.current': '2097152\n',
    });
    fill('hybrid/empty', {
      'cgroup.events': 'populated 0\nfrozen 0\n',
      'cpu.pressure': `some ${line} total=0\nfull ${line} total=0\n`,
    });
    const host: HostCgroups = { layout: 'hybrid', mounts: new Map(), unifiedRoot: join(root, 'hybrid') };
    const stats = readStats(host, '/full');
    assert.equal(stats.pressure?.cpu?.some.totalUs, 77n);
    assert.equal(stats.pressure.memory, undefined);
    assert.deepEqual(stats.hugepages, [{ pageSize: '2MB', bytes: 2_097_152 }]);
    assert.deepEqual(readUsage(host, '/full'), usedOf(stats));
    assert.deepEqual([readStats(host, '/empty'), readUsage(host, '/empty')], [{}, {}]);
  });

  test('a quota that is not counted has no numbers', () => {
    fill('plain', { 'cpu.stat': 'usage_usec 1\nuser_usec 1\nsystem_usec 0\n' });
    assert.deepEqual(readStats(unified(), '/plain').cpu, { usageNs: 1000n, userNs: 1000n, systemNs: 0n });
  });

  test('a cgroup that is gone has no numbers', () => {
    assert.deepEqual([readStats(unified(), '/gone'), readUsage(unified(), '/gone')], [{}, {}]);
    assert.equal(readOomKills(unified(), '/gone'), undefined);
  });

  test('limits are applied all or not at all', async () => {
    fill('limits', { 'memory.max': 'max', 'pids.max': 'max', 'cpu.max': 'max 100000' });
    const directory = join(root, 'limits');
    await applyWrites(directory, [
      { file: 'memory.max', value: '100' },
      { file: 'pids.max', value: '7' },
    ]);
    assert.equal(readFileSync(join(directory, 'memory.max'), 'utf8').slice(0, 3), '100');
    writeFileSync(join(directory, 'memory.max'), '100');
    writeFileSync(join(directory, 'pids.max'), '700');
    const writes = [
      { file: 'memory.max', value: '200' },
      { file: 'pids.max', value: '999' },
      { file: 'memory.absent', value: '1' },
    ];
    await assert.rejects(applyWrites(directory, writes), (error) => isKind(error, 'failed-precondition'));
    assert.equal(readFileSync(join(directory, 'memory.max'), 'utf8'), '100');
    assert.equal(readFileSync(join(directory, 'pids.max'), 'utf8'), '700');
  });
});
