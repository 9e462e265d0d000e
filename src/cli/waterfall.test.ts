import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Trace } from '../gen/gantry/v1/traces.ts';
import { mainPhase } from './phase-tree.ts';
import { formatWaterfall } from './waterfall.ts';

const phase = { parent: -1, startMs: 0, durationMs: 1, hasFailed: false };
const subject = {
  podId: '',
  podName: 'web',
  podNamespace: 'default',
  containerId: '',
  containerName: '',
  image: '',
};
const ended: Trace = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: 'c'.repeat(16),
  method: 'RunPodSandbox',
  startedAt: 1_700_000_000_123_000_000n,
  durationMs: 18.4,
  code: 'OK',
  error: '',
  subject,
  phases: [
    { ...phase, name: 'wait for a place', startMs: 0.1, durationMs: 0.02 },
    { ...phase, name: 'namespaces', startMs: 0.4, durationMs: 1.1 },
    { ...phase, name: 'network', startMs: 1.6, durationMs: 12 },
    { ...phase, name: 'plugin bridge', parent: 2, startMs: 1.7, durationMs: 9.5 },
    { ...phase, name: 'plugin portmap', parent: 2, startMs: 11.3, durationMs: 2.2 },
    { ...phase, name: 'files', startMs: 13.7, durationMs: 0.6 },
  ],
  droppedPhases: 0,
};
const failed: Trace = {
  ...ended,
  parentSpanId: '',
  durationMs: 4321,
  code: 'UNAVAILABLE',
  error: 'network gantry: plugin bridge:\n  no such \u001b[31mdevice',
  phases: [
    { ...phase, name: 'network', startMs: 1, durationMs: 4300, hasFailed: true },
    { ...phase, name: 'plugin bridge', parent: 0, startMs: 2, durationMs: 4200, hasFailed: true },
    { ...phase, name: 'undo', startMs: 4305, durationMs: 10 },
  ],
};
/** Layers side by side; one that is still coming. */
const running: Trace = {
  ...ended,
  method: 'PullImage',
  durationMs: 95_000,
  code: '',
  subject: { ...subject, podName: '', podNamespace: '', image: 'registry.test/app:1' },
  phases: [
    { ...phase, name: 'manifest', startMs: 1, durationMs: 120 },
    { ...phase, name: 'layers', startMs: 130, durationMs: undefined },
    { ...phase, name: 'layer sha256:aaaaaaaaaaaa', parent: 1, startMs: 131, durationMs: 30_000 },
    { ...phase, name: 'layer sha256:bbbbbbbbbbbb', parent: 1, startMs: 131, durationMs: undefined },
    { ...phase, name: 'unpack', parent: 2, startMs: 500, durationMs: 29_500 },
    { ...phase, name: 'download', parent: 3, startMs: 140, durationMs: undefined },
  ],
  droppedPhases: 3,
};

function matchesGolden(t: TestContext, text: string, name: string): void {
  t.assert.fileSnapshot(text, `test/golden/traces/${name}.txt`, { serializers: [String] });
}

test('a request and its phases as text', (t) => matchesGolden(t, formatWaterfall(ended), 'ended'));
test('a failed request as text', (t) => matchesGolden(t, formatWaterfall(failed), 'failed'));
test('a request that is being worked on as text', (t) =>
  matchesGolden(t, formatWaterfall(running), 'running'));
test('a request without phases as text', (t) =>
  matchesGolden(t, formatWaterfall({ ...ended, phases: [], durationMs: 0 }), 'no-phases'));

test('the main phase is where it failed, where it is, or what took longest by itself', () => {
  assert.deepEqual(mainPhase(ended), { path: 'network: plugin bridge', durationMs: 9.5 });
  assert.equal(mainPhase(failed)?.path, 'network: plugin bridge');
  assert.equal(mainPhase(running)?.path, 'layers: layer sha256:bbbbbbbbbbbb: download');
  assert.equal(mainPhase({ ...ended, phases: [] }), undefined);
  // An attempt that failed and was made good explains nothing.
  const mended = ended.phases.map((one, index) => ({ ...one, hasFailed: index === 1 }));
  assert.equal(mainPhase({ ...ended, phases: mended })?.path, 'network: plugin bridge');
});

test('phases that name each other as the one around end all the same', () => {
  const phases = [
    { ...phase, name: 'one', parent: 1 },
    { ...phase, name: 'other', parent: 0 },
    { ...phase, name: 'itself', parent: 2 },
  ];
  assert.match(formatWaterfall({ ...ended, phases }), /no phase/);
});
