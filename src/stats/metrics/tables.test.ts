import assert from 'node:assert/strict';
import { mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { HostCgroups } from '../../cgroups/host.ts';
import { readStats } from '../../cgroups/read-stats.ts';
import type { CgroupStats } from '../../cgroups/stats.ts';
import type { Container } from '../../containers/container.ts';
import { sampleContainer } from '../../containers/spec/testing/sample-input.ts';
import { parseContainerId, parseDigest, parseSandboxId } from '../../lib/ids.ts';
import type { InterfaceCounters } from '../network-counters.ts';
import type { ContainerFacts } from './container-facts.ts';
import { networkFamilies } from './network.ts';
import { containerFamilies, type Metric, metricDescriptors, metricsOf } from './tables.ts';

/** What critest asks of every runtime. */
const requiredNames = [
  'container_blkio_device_usage_total',
  ...['periods', 'throttled_periods', 'throttled_seconds'].map((name) => `container_cpu_cfs_${name}_total`),
  ...['system', 'usage', 'user'].map((name) => `container_cpu_${name}_seconds_total`),
  'container_file_descriptors',
  ...['inodes_free', 'inodes_total', 'limit_bytes', 'usage_bytes'].map((name) => `container_fs_${name}`),
  ...['reads', 'reads_bytes', 'writes', 'writes_bytes'].map((name) => `container_fs_${name}_total`),
  'container_hugetlb_max_usage_bytes',
  'container_hugetlb_usage_bytes',
  'container_last_seen',
  ...['cache', 'failcnt', 'failures_total', 'kernel_usage', 'mapped_file', 'max_usage_bytes', 'rss'].map(
    (name) => `container_memory_${name}`,
  ),
  ...['swap', 'usage_bytes', 'working_set_bytes'].map((name) => `container_memory_${name}`),
  ...['receive', 'transmit'].flatMap((direction) =>
    ['bytes', 'errors', 'packets', 'packets_dropped'].map(
      (name) => `container_network_${direction}_${name}_total`,
    ),
  ),
  'container_oom_events_total',
  ...['cpu', 'io', 'memory'].flatMap((resource) => [
    `container_pressure_${resource}_stalled_seconds_total`,
    `container_pressure_${resource}_waiting_seconds_total`,
  ]),
  'container_processes',
  'container_sockets',
  ...['cpu_period', 'cpu_quota', 'cpu_shares', 'memory_limit_bytes'].map((name) => `container_spec_${name}`),
  'container_spec_memory_reservation_limit_bytes',
  'container_spec_memory_swap_limit_bytes',
  'container_start_time_seconds',
  'container_threads',
  'container_threads_max',
  'container_ulimits_soft',
];

const container: Container = {
  version: 1,
  id: parseContainerId('c'.repeat(64)),
  sandboxId: parseSandboxId('a'.repeat(64)),
  config: sampleContainer,
  imageId: parseDigest(`sha256:${'0'.repeat(64)}`),
  imageReference: 'registry.example/web:1',
  runtimeHandler: 'crun',
  createdAtNs: '1700000000900000000',
  bootId: 'boot',
  cgroupsPath: '/c',
  stopSignal: 'SIGTERM',
  user: { uid: 0, gid: 0, supplementalGroups: [] },
  resources: {
    hugepageLimits: [],
    cpuQuotaUs: 20_000,
    cpuShares: 512,
    memoryLimitBytes: 67_108_864,
    memorySwapLimitBytes: -1,
    unified: { 'memory.min': '4096' },
  },
  state: { name: 'exited', finishedAtNs: '1', exitCode: 0, reason: 'Completed', message: '' },
};

const owner = {
  pod: 'shop',
  namespace: 'default',
  container: 'web',
  id: container.id,
  image: 'registry.example/web:1',
};

function factsOf(cgroup: CgroupStats): ContainerFacts {
  return {
    usage: {
      container,
      cgroup,
      readAtNs: 1_700_000_100_999_999_999n,
      writableLayer: { mountpoint: '/layers', usedBytes: 10, usedInodes: 2, timestampMs: 1_700_000_050_000 },
    },
    processes: {
      processes: 2,
      threads: 3,
      fileDescriptors: 9,
      sockets: 1,
      softLimits: [{ name: 'max_open_files', value: 1024n }],
    },
    fileSystem: { device: '/dev/sda1', sizeBytes: 1_000_000n, inodes: 500n, freeInodes: 400n },
    deviceNames: new Map([['8:0', '/dev/sda']]),
  };
}

/** As Prometheus writes it, without the labels that all have; the time after the value. */
function expose(metrics: readonly Metric[]): string {
  const keys = new Map(metricDescriptors().map(({ name, labelKeys }) => [name, labelKeys]));
  return metrics
    .map(({ name, type, labelValues, value, readAtNs }) => {
      assert.equal(labelValues.length, keys.get(name)?.length, name);
      const labels = labelValues.map((label, index) => `${keys.get(name)?.[index]}="${label}"`);
      const at = readAtNs === undefined ? '' : ` @${readAtNs}`;
      return `${type} ${name}{${labels.slice(5).join(',')}} ${value}${at}\n`;
    })
    .join('');
}

function compareGolden(t: TestContext, metrics: readonly Metric[], name: string): void {
  t.assert.fileSnapshot(expose(metrics), `test/golden/metrics/${name}.txt`, {
    serializers: [(text: string) => text],
  });
}

function fill(root: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), `${text}\n`);
  }
}

test('every metric that the peers serve is described once, with the labels that they agreed on', () => {
  const descriptors = metricDescriptors();
  const names = descriptors.map(({ name }) => name);
  assert.equal(requiredNames.length, 56);
  assert.deepEqual(
    requiredNames.filter((name) => !names.includes(name)),
    [],
  );
  assert.equal(new Set(names).size, names.length);
  for (const { name, help, type, labelKeys } of descriptors) {
    assert.match(help, /^[A-Z].*\.$/, name);
    assert.deepEqual(labelKeys.slice(0, 5), ['pod', 'namespace', 'container', 'id', 'image'], name);
    assert.equal(new Set(labelKeys).size, labelKeys.length, name);
    const isCounter = /_total$|_failcnt$/.test(name) && name !== 'container_fs_inodes_total';
    assert.equal(type, isCounter ? 'counter' : 'gauge', name);
  }
});

test('a container on cgroup v2', (t) => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-metrics-'));
  fill(directory.path, {
    'c/cpu.stat':
      'usage_usec 3500000\nuser_usec 2000000\nsystem_usec 1500000\nnr_periods 40\nnr_throttled 20\nthrottled_usec 9000000',
    'c/memory.current': '10000',
    'c/memory.max': '67108864',
    'c/memory.peak': '12000',
    'c/memory.stat':
      'anon 3000\nfile 6000\nkernel 500\nfile_mapped 70\ninactive_file 4000\nactive_file 2000\npgfault 110\npgmajfault 3',
    'c/memory.events': 'low 0\nhigh 0\nmax 5\noom 1\noom_kill 2',
    'c/memory.swap.current': '640',
    'c/memory.swap.max': 'max',
    'c/pids.current': '3',
    'c/pids.max': 'max',
    'c/io.stat':
      '8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n259:1 rbytes=5 wbytes=6 rios=7 wios=8',
    'c/cpu.pressure':
      'some avg10=1.50 avg60=0.25 avg300=0.00 total=7700000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1500000',
    'c/memory.pressure':
      'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0',
    'c/io.pressure':
      'some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=999999',
    'c/hugetlb.2MB.current': '4194304',
    'c/hugetlb.2MB.max': 'max',
    'c/hugetlb.2MB.rsvd.current': '0',
    'c/hugetlb.1GB.current': '0',
  });
  const host: HostCgroups = { layout: 'unified', root: directory.path, controllers: ['hugetlb'] };
  const metrics = metricsOf(containerFamilies, factsOf(readStats(host, '/c')), owner);
  compareGolden(t, metrics, 'cgroup2');
  assert.deepEqual(metrics[0]?.labelValues, Object.values(owner));
  const valued = new Set(metrics.map(({ name }) => name));
  assert.deepEqual(
    containerFamilies.map(({ name }) => name).filter((name) => !valued.has(name)),
    // The kernel keeps no such number.
    ['container_hugetlb_max_usage_bytes'],
  );
});

test('a container on cgroup v1', (t) => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-metrics-'));
  fill(directory.path, {
    'cpuacct/c/cpuacct.usage': '3500000000',
    'cpuacct/c/cpuacct.usage_user': '2000000000',
    'cpuacct/c/cpuacct.usage_sys': '1500000000',
    'cpu/c/cpu.stat': 'nr_periods 40\nnr_throttled 20\nthrottled_time 9000000000',
    'memory/c/memory.usage_in_bytes': '10000',
    'memory/c/memory.max_usage_in_bytes': '12000',
    'memory/c/memory.limit_in_bytes': '67108864',
    'memory/c/memory.memsw.usage_in_bytes': '10640',
    'memory/c/memory.memsw.limit_in_bytes': '67108864',
    'memory/c/memory.kmem.usage_in_bytes': '500',
    'memory/c/memory.failcnt': '5',
    'memory/c/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2',
    'memory/c/memory.stat':
      'pgfault 100\npgmajfault 1\ntotal_cache 6000\ntotal_rss 3000\ntotal_mapped_file 70\ntotal_inactive_file 4000\ntotal_active_file 2000\ntotal_pgfault 110\ntotal_pgmajfault 3',
    'pids/c/pids.current': '3',
    'pids/c/pids.max': '99',
    'blkio/c/blkio.throttle.io_service_bytes_recursive': '8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30',
    'blkio/c/blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\nTotal 3',
    'hugetlb/c/hugetlb.2MB.usage_in_bytes': '2097152',
    'hugetlb/c/hugetlb.2MB.max_usage_in_bytes': '4194304',
    'hugetlb/c/hugetlb.2MB.limit_in_bytes': '9223372036854771712',
  });
  const names = ['cpuacct', 'cpu', 'memory', 'pids', 'blkio', 'hugetlb'];
  const mounts = new Map(names.map((name) => [name, join(directory.path, name)]));
  const host: HostCgroups = { layout: 'legacy', mounts, unifiedRoot: undefined };
  const metrics = metricsOf(containerFamilies, factsOf(readStats(host, '/c')), owner);
  compareGolden(t, metrics, 'cgroup1');
});

test('what cannot be read is left out, not zero', (t) => {
  const { usage } = factsOf({});
  const facts: ContainerFacts = {
    usage: {
      container: { ...container, resources: { hugepageLimits: [] } },
      cgroup: {},
      readAtNs: usage.readAtNs,
    },
    processes: { processes: 0, softLimits: [] },
    deviceNames: new Map(),
  };
  compareGolden(t, metricsOf(containerFamilies, facts, owner), 'nothing-read');
});

test('a reservation that is no number has no value', () => {
  const facts = factsOf({});
  const withMinimum = (minimum: string): boolean => {
    const resources = { hugepageLimits: [], unified: { 'memory.min': minimum } };
    const changed = { ...facts, usage: { ...facts.usage, container: { ...container, resources } } };
    return metricsOf(containerFamilies, changed, owner).some(({ name }) => name.includes('reservation'));
  };
  assert.equal(withMinimum('max'), false);
  assert.equal(withMinimum('134217728'), true);
});

test("a pod's interfaces", (t) => {
  const counters: InterfaceCounters = {
    name: 'eth0',
    receivedBytes: 18_446_744_073_709_551_615n,
    receivedPackets: 2n,
    receiveErrors: 3n,
    receiveDropped: 4n,
    sentBytes: 5n,
    sentPackets: 6n,
    sendErrors: 7n,
    sendDropped: 8n,
  };
  const pod = { ...owner, container: '', image: '', id: container.sandboxId };
  const metrics = metricsOf(networkFamilies, [counters], pod);
  compareGolden(t, metrics, 'network');
  assert.deepEqual(metrics[0]?.labelValues, ['shop', 'default', '', pod.id, '', 'eth0']);
  assert.deepEqual(metricsOf(networkFamilies, [], pod), []);
});
