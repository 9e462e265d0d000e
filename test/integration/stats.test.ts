import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cgroupOfProcess, detectHostCgroups } from '../../src/cgroups/host.ts';
import { KeptFiles } from '../../src/cgroups/kept-files.ts';
import { openContainerStore } from '../../src/containers/container.ts';
import { sampleContainer } from '../../src/containers/spec/testing/sample-input.ts';
import { sampleContainerRecord, sampleSandboxRecord } from '../../src/containers/testing/sample-records.ts';
import { newContainerId, newSandboxId } from '../../src/lib/ids.ts';
import { RecordDatabase } from '../../src/lib/records.ts';
import { createContainer } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import { openSandboxStore } from '../../src/sandbox/sandbox.ts';
import { CpuRates } from '../../src/stats/cpu-rates.ts';
import { listPodMetrics } from '../../src/stats/metrics.ts';
import { metricDescriptors } from '../../src/stats/metrics/tables.ts';
import { parseNetworkCounters } from '../../src/stats/network-counters.ts';
import {
  containerUsage,
  followEnds,
  listContainerUsage,
  podUsage,
  type UsageDeps,
} from '../../src/stats/usage.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

/** Depend on what the host counts: block devices, cgroup v2, a quota in the request. */
const optional = /^container_(?:fs_(?:reads|writes)|blkio|hugetlb|pressure|spec_cpu_quota)/;

describe('usage of a pod with a running container', { timeout: 60_000 }, () => {
  const host = detectHostCgroups();
  const sandboxId = newSandboxId();
  const running = newContainerId();
  const ended = newContainerId();
  let fixture: OciFixture;
  let database: RecordDatabase;
  let deps: UsageDeps;
  let cgroup: string;

  before(async () => {
    fixture = await makeOciFixture();
    database = RecordDatabase.open(join(fixture.directory, 'state.db'));
    const onListenerError = (error: unknown): void => assert.fail(String(error));
    const containers = openContainerStore(database, onListenerError);
    const sandboxes = openSandboxStore(database, onListenerError);
    const bundle = fixture.bundle(running, ['sh', '-c', 'while true; do sleep 1000; done']);
    const processes = await createContainer(fixture.deps, {
      id: running,
      bundle,
      terminal: false,
      stdin: 'none',
    });
    cgroup = cgroupOfProcess(host, processes.process.pid) ?? '';
    await startContainer(fixture.deps, { id: running });
    sandboxes.add(
      sampleSandboxRecord({
        id: sandboxId,
        state: { name: 'ready', ips: [], namespaces: { net: `/proc/${processes.process.pid}/ns/net` } },
      }),
    );
    const resources = { hugepageLimits: [], memoryLimitBytes: 64 * 1024 * 1024 };
    containers.add(
      sampleContainerRecord({
        id: running,
        sandboxId,
        cgroupsPath: cgroup,
        resources,
        state: { name: 'running', processes, startedAtNs: '1700000000000000000' },
      }),
    );
    containers.add(
      sampleContainerRecord({
        id: ended,
        sandboxId,
        config: { ...sampleContainer, metadata: { name: 'gone', attempt: 0 } },
        cgroupsPath: '/gantry-test-gone',
        resources,
        state: { name: 'exited', finishedAtNs: '1', exitCode: 0, reason: 'Completed', message: '' },
      }),
    );
    deps = {
      host,
      containers,
      sandboxes,
      rates: new CpuRates(),
      files: new KeptFiles(100),
      containerCgroup: (one) => one.cgroupsPath,
      podCgroup: () => cgroup,
      writableLayer: async () => ({
        mountpoint: fixture.directory,
        usedBytes: 10,
        usedInodes: 2,
        timestampMs: Date.now(),
      }),
      interfaces: { read: async () => parseNetworkCounters('  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n') },
    };
  });
  after(async () => {
    await deleteContainer(fixture.deps, { id: running, hasEnded: false });
    database[Symbol.dispose]();
    await fixture[Symbol.asyncDispose]();
  });

  test('a running container has numbers, one that has ended has its layer', async () => {
    const usage = await containerUsage(deps, deps.containers.mustFind(running));
    assert.ok((usage.cgroup.cpu?.usageNs ?? 0n) > 0n);
    assert.ok((usage.cgroup.memory?.usageBytes ?? 0) > 0);
    assert.equal(usage.usageNanoCores, undefined);
    const gone = await containerUsage(deps, deps.containers.mustFind(ended));
    assert.deepEqual(gone.cgroup, {});
    assert.equal(gone.writableLayer?.usedBytes, 10);
    const listed = await listContainerUsage(deps, { labels: {} });
    assert.deepEqual(
      listed.map(({ container }) => container.id),
      [running],
    );
  });

  test('a pod has its containers and its interfaces', async () => {
    using _ = followEnds(deps);
    const usage = await podUsage(deps, deps.sandboxes.mustFind(sandboxId));
    assert.equal(usage.containers.length, 1);
    assert.deepEqual(
      usage.interfaces.map(({ name, sentBytes }) => [name, sentBytes]),
      [['eth0', 5n]],
    );
    await assert.rejects(
      listContainerUsage(deps, { labels: {} }, AbortSignal.abort(new Error('gone'))),
      /gone/,
    );
  });

  test('every metric has a value, with the labels of its descriptor', async () => {
    const [pod] = await listPodMetrics(deps);
    assert.equal(pod?.sandboxId, sandboxId);
    const metrics = [...(pod?.metrics ?? []), ...(pod?.containers[0]?.metrics ?? [])];
    for (const { name, labelKeys, help } of metricDescriptors()) {
      assert.notEqual(help, '');
      const found = metrics.filter((metric) => metric.name === name);
      assert.ok(found.length > 0 || optional.test(name), `${name} has no value`);
      for (const { labelValues } of found) assert.equal(labelValues.length, labelKeys.length, name);
    }
    const valueOf = (name: string): bigint | undefined =>
      metrics.find((metric) => metric.name === name)?.value;
    assert.equal(valueOf('container_spec_memory_limit_bytes'), 67_108_864n);
    assert.equal(valueOf('container_fs_usage_bytes'), 10n);
    assert.ok((valueOf('container_processes') ?? 0n) >= 1n);
    assert.ok((valueOf('container_file_descriptors') ?? 0n) >= 3n);
    assert.ok((valueOf('container_ulimits_soft') ?? 0n) > 0n);
  });
});
