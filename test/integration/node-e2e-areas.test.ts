import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countByArea } from '../../hack/lib/node-e2e/areas.ts';
import type { SpecResult } from '../../hack/lib/ginkgo/report.ts';

const spec = (name: string, state: SpecResult['state'] = 'passed'): SpecResult => ({
  name,
  state,
  seconds: 1,
  message: '',
});

const areaOf = (name: string): string | undefined => countByArea([spec(name)])[0]?.name;

test('every spec is counted in one area, by what became of it', () => {
  const volume = '[sig-storage] EmptyDir volumes should support';
  const counts = countByArea([
    spec('[sig-node] Something that is new'),
    spec(volume),
    spec(volume, 'failed'),
    spec(volume, 'skipped'),
  ]);
  assert.deepEqual(counts, [
    { name: 'volumes, projected and mounted', passed: 1, failed: 1, skipped: 1 },
    { name: 'pods, static pods, the kubelet', passed: 1, failed: 0, skipped: 0 },
  ]);
});

test('what is about the node’s own restarts is told from what restarts containers', () => {
  const restarts = 'restarts of kubelet and engine';
  assert.equal(
    areaOf('[sig-node] Restart [Serial] [Slow] Kubelet should account for terminated pods'),
    restarts,
  );
  assert.equal(
    areaOf('[sig-node] [Serial] Containers Lifecycle when A node reboots should restart'),
    restarts,
  );
  assert.equal(
    areaOf('[sig-node] [NodeConformance] Containers Lifecycle should restart containers'),
    'containers, init containers and hooks',
  );
});

test('probes of init containers count as probes', () =>
  assert.equal(areaOf('[sig-node] [NodeConformance] Probing restartable init container should'), 'probes'));

test('what is killed for going beyond its memory counts for what the spec is about', () => {
  assert.equal(
    areaOf('[sig-node] MemoryQoS [Serial] memory.high throttling behavior should OOM kill container'),
    'memory QoS',
  );
  assert.equal(
    areaOf('[sig-node] OOMKiller [LinuxOnly] [NodeConformance] [Serial] init container'),
    'out of memory, process limits',
  );
  assert.equal(areaOf('[sig-node] Swap [LinuxOnly] [Feature:NodeSwap] with a critical pod'), 'swap');
});
