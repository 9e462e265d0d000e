import assert from 'node:assert/strict';
import { mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openContainerStore } from '../containers/container.ts';
import { sampleInput } from '../containers/spec/testing/sample-input.ts';
import { sampleContainerRecord, sampleSandboxRecord } from '../containers/testing/sample-records.ts';
import {
  MetricType,
  type PodSandboxMetrics,
  StreamPodSandboxMetricsResponse,
} from '../gen/runtime/v1/api.ts';
import { RecordDatabase } from '../lib/records.ts';
import { openSandboxStore } from '../sandbox/sandbox.ts';
import { CpuRates } from '../stats/cpu-rates.ts';
import { parseNetworkCounters } from '../stats/network-counters.ts';
import type { UsageDeps } from '../stats/usage.ts';
import { metricsHandlers } from './metrics.ts';

const signal = new AbortController().signal;
const measuredAtMs = 1_700_000_050_000;

/** Ready pods of one container each, whose cgroup is a directory with a few files. */
function makeNode(root: string, database: RecordDatabase, pods: number): UsageDeps {
  const onListenerError = (error: unknown): void => assert.fail(String(error));
  const containers = openContainerStore(database, onListenerError);
  const sandboxes = openSandboxStore(database, onListenerError);
  mkdirSync(join(root, 'c'));
  writeFileSync(join(root, 'c/memory.current'), '1000\n');
  writeFileSync(join(root, 'c/memory.stat'), 'anon 300\ninactive_file 400\n');
  for (let index = 0; index < pods; index += 1) {
    const metadata = { ...sampleInput.pod.metadata, name: `pod-${index}`, uid: `uid-${index}` };
    const sandbox = sampleSandboxRecord({
      config: { ...sampleInput.pod, metadata },
      state: { name: 'ready', ips: [], namespaces: { net: '/run/netns/x' } },
    });
    sandboxes.add(sandbox);
    const process = { pid: 2 ** 30, startTicks: '1' };
    containers.add(
      sampleContainerRecord({
        sandboxId: sandbox.id,
        state: {
          name: 'running',
          processes: { monitor: process, process },
          startedAtNs: '1700000000000000000',
        },
      }),
    );
  }
  return {
    host: { layout: 'unified', root, controllers: [] },
    containers,
    sandboxes,
    rates: new CpuRates(),
    files: { readText: () => undefined, close: () => undefined },
    containerCgroup: ({ cgroupsPath }) => cgroupsPath,
    podCgroup: () => '/c',
    writableLayer: async () => ({
      mountpoint: root,
      usedBytes: 10,
      usedInodes: 2,
      timestampMs: measuredAtMs,
    }),
    interfaces: { read: async () => parseNetworkCounters('  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n') },
  };
}

test('values go to the wire with their type, time and labels', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-cri-metrics-'));
  using database = RecordDatabase.open(join(directory.path, 'state.db'));
  const handlers = metricsHandlers(makeNode(directory.path, database, 1));
  const { descriptors } = await handlers.listMetricDescriptors({}, signal);
  const { podMetrics } = await handlers.listPodSandboxMetrics({}, signal);
  assert.equal(podMetrics.length, 1);
  const [pod] = podMetrics;
  const all = [...(pod?.metrics ?? []), ...(pod?.containerMetrics[0]?.metrics ?? [])];
  const labelled = (name: string): Record<string, string> => {
    const keys = descriptors.find((one) => one.name === name)?.labelKeys ?? [];
    const values = all.find((one) => one.name === name)?.labelValues ?? [];
    assert.equal(values.length, keys.length);
    return Object.fromEntries(keys.map((key, index) => [key, values[index] ?? '']));
  };
  const containerId = pod?.containerMetrics[0]?.containerId;
  const owner = { pod: 'pod-0', namespace: sampleInput.pod.metadata.namespace };
  assert.deepEqual(labelled('container_memory_rss'), {
    ...owner,
    container: 'web',
    id: containerId,
    image: 'registry.example/web:1',
  });
  assert.deepEqual(labelled('container_network_transmit_bytes_total'), {
    ...owner,
    container: '',
    id: pod?.podSandboxId,
    image: '',
    interface: 'eth0',
  });
  const wire = (name: string) => {
    const { timestamp, metricType, value } = all.find((one) => one.name === name) ?? {};
    return { timestamp, metricType, value };
  };
  assert.deepEqual(wire('container_memory_working_set_bytes'), {
    timestamp: 0n,
    metricType: MetricType.GAUGE,
    value: { value: 600n },
  });
  assert.deepEqual(wire('container_network_transmit_bytes_total'), {
    timestamp: 0n,
    metricType: MetricType.COUNTER,
    value: { value: 5n },
  });
  assert.deepEqual(wire('container_fs_usage_bytes'), {
    timestamp: BigInt(measuredAtMs) * 1_000_000n,
    metricType: MetricType.GAUGE,
    value: { value: 10n },
  });
  assert.equal(
    all.some(({ name }) => name === 'container_file_descriptors'),
    false,
  );
});

test('the stream gives the pods of the list; a caller that is gone ends the reading', async () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'gantry-cri-metrics-'));
  using database = RecordDatabase.open(join(directory.path, 'state.db'));
  const handlers = metricsHandlers(makeNode(directory.path, database, 12));
  const streamed: PodSandboxMetrics[] = [];
  for await (const page of handlers.streamPodSandboxMetrics({}, signal))
    streamed.push(...StreamPodSandboxMetricsResponse.decode(page).podSandboxMetrics);
  assert.equal(streamed.length, 12);
  const listed = await handlers.listPodSandboxMetrics({}, signal);
  assert.deepEqual(
    streamed.map(({ podSandboxId }) => podSandboxId),
    listed.podMetrics.map(({ podSandboxId }) => podSandboxId),
  );
  await assert.rejects(
    async () => await handlers.listPodSandboxMetrics({}, AbortSignal.abort(new Error('gone'))),
    /gone/,
  );
});
