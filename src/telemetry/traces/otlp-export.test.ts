import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { startOtlpExport } from './otlp-export.ts';
import { readOtlpSettings } from './otlp-settings.ts';
import { startGrpcReceiver, startHttpReceiver } from './testing/otlp-receiver.ts';
import type { Trace } from './trace.ts';

const phaseOf = { parent: -1, startMs: 1, durationMs: 2, hasFailed: false };
const trace: Trace = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parent: { traceId: 'a'.repeat(32), spanId: 'c'.repeat(16), isSampled: true },
  method: 'RunPodSandbox',
  isRead: false,
  startedAtMs: 1_700_000_000_000,
  durationMs: 10,
  code: 'UNAVAILABLE',
  error: 'the network is away',
  subject: { podName: 'web', podNamespace: 'default', podId: undefined },
  phases: [
    { ...phaseOf, name: 'namespaces' },
    { ...phaseOf, name: 'network', startMs: 3, durationMs: 6, hasFailed: true },
    { ...phaseOf, name: 'plugin bridge', parent: 1, startMs: 4, durationMs: undefined },
  ],
  droppedPhases: 0,
};

const names = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_PROTOCOL', 'OTEL_RESOURCE_ATTRIBUTES'];

afterEach(() => {
  for (const name of [...names, 'OTEL_TRACES_SAMPLER']) delete process.env[name];
});

/** Sends them, as the environment says, and waits until they have been sent. Gives what went wrong. */
async function exported(...traces: readonly Trace[]): Promise<readonly string[]> {
  const problems: string[] = [];
  const settings = readOtlpSettings(process.env);
  assert.ok(settings);
  const options = { version: '1.2.3', onProblem: (message: string) => problems.push(message) };
  const otlp = await startOtlpExport(settings, options);
  for (const one of traces) otlp.send(one);
  await otlp[Symbol.asyncDispose]();
  return problems;
}

for (const [protocol, startReceiver] of [
  ['http/protobuf', startHttpReceiver],
  ['grpc', startGrpcReceiver],
] as const)
  test(`a request and its phases arrive over ${protocol}`, async () => {
    await using receiver = await startReceiver();
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.endpoint;
    process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] = protocol;
    process.env['OTEL_RESOURCE_ATTRIBUTES'] = 'service.name=engine,site=here';
    assert.deepEqual(await exported(trace), []);
    const request = receiver.spans.find(({ name }) => name === 'RunPodSandbox');
    assert.ok(request);
    const { traceId, spanId, parentSpanId, startMs, endMs, statusCode, statusMessage } = request;
    assert.deepEqual([traceId, spanId, parentSpanId], [trace.traceId, trace.spanId, trace.parent?.spanId]);
    assert.deepEqual([startMs, endMs], [1_700_000_000_000, 1_700_000_000_010]);
    assert.deepEqual([statusCode, statusMessage], [2, 'the network is away']);
    assert.deepEqual(request.attributes, {
      'rpc.system': 'grpc',
      'rpc.method': 'RunPodSandbox',
      'rpc.response.status_code': 'UNAVAILABLE',
      'k8s.pod.name': 'web',
      'k8s.namespace.name': 'default',
    });
    assert.equal(request.resource['service.name'], 'engine');
    assert.equal(request.resource['service.version'], '1.2.3');
    assert.equal(request.resource['site'], 'here');
    const phases = receiver.spans.filter(({ name }) => name !== 'RunPodSandbox');
    const idOf = (wanted: string) => phases.find(({ name }) => name === wanted)?.spanId;
    const told = phases
      .toSorted((one, other) => one.startMs - other.startMs)
      .map((span) => [span.name, span.parentSpanId, span.endMs - startMs, span.statusCode]);
    assert.deepEqual(told, [
      ['namespaces', trace.spanId, 3, 0],
      ['network', trace.spanId, 9, 2],
      ['plugin bridge', idOf('network'), 10, 0],
    ]);
    assert.ok(phases.every((span) => span.traceId === traceId));
  });

test('a caller that keeps no span of its own is followed, one that said nothing is as the sampler says', async () => {
  await using receiver = await startHttpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.endpoint;
  const unsampled = {
    ...trace,
    parent: { traceId: 'd'.repeat(32), spanId: 'e'.repeat(16), isSampled: false },
  };
  await exported(unsampled, { ...trace, parent: undefined });
  assert.deepEqual(new Set(receiver.spans.map(({ traceId }) => traceId)), new Set([trace.traceId]));
  process.env['OTEL_TRACES_SAMPLER'] = 'always_off';
  await exported(trace);
  assert.equal(receiver.spans.length, 4);
});

test('a collector that is away is said, and holds nothing up', async () => {
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = 'http://127.0.0.1:1';
  const [problem = 'nothing was said'] = await exported(trace);
  assert.match(problem, /ECONNREFUSED|the last traces: /);
});
