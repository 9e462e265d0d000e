import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phase, withTrace } from './phase.ts';
import { RequestTraces } from './request-traces.ts';

const start = { method: 'RunPodSandbox', isRead: false, traceparent: undefined };

test('only the last requests of a method are kept, and frequent ones do not drive out others', () => {
  const traces = new RequestTraces();
  const run = traces.begin(start);
  traces.end(run, 'OK');
  for (let index = 0; index < 5000; index += 1) {
    const exec = traces.begin({ ...start, method: 'ExecSync' });
    exec.describe({ podName: String(index) });
    traces.end(exec, 'OK');
    traces.end(traces.begin({ ...start, method: 'ListContainers', isRead: true }), 'OK');
  }
  const kept = Map.groupBy(traces.all(), ({ method }) => method);
  const counts = [...kept].map(([method, all]) => [method, all.length]);
  assert.deepEqual(counts, [
    ['RunPodSandbox', 1],
    ['ExecSync', 200],
    ['ListContainers', 50],
  ]);
  assert.equal(kept.get('ExecSync')?.at(-1)?.subject.podName, '4999');
});

test('a request has so many phases at most, and says how many more there were', async () => {
  const traces = new RequestTraces();
  const open = traces.begin(start);
  await withTrace(open, async () => {
    for (let index = 0; index < 700; index += 1) await phase('one of many', () => undefined);
  });
  traces.end(open, 'OK');
  const [trace] = traces.all();
  assert.deepEqual([trace?.phases.length, trace?.droppedPhases], [600, 100]);
});

test('what a client says of names is kept up to a length', () => {
  const traces = new RequestTraces();
  const open = traces.begin(start);
  const long = 'n'.repeat(3_000_000);
  open.describe({ podName: long, image: 'a.example/b' });
  open.describe({ podId: undefined, podNamespace: long });
  traces.end(open, 'INVALID_ARGUMENT', long);
  const [trace] = traces.all();
  assert.deepEqual(trace?.subject, {
    podName: long.slice(0, 1024),
    image: 'a.example/b',
    podNamespace: long.slice(0, 1024),
  });
  assert.equal(trace?.error, long.slice(0, 1000));
});

test('what happens after the end of a request is not added to it', async () => {
  const ended: string[] = [];
  const traces = new RequestTraces({ onEnd: ({ code }) => ended.push(code ?? '') });
  const open = traces.begin(start);
  const { promise, resolve } = Promise.withResolvers<void>();
  const late = withTrace(open, async () => {
    await phase('outlives it', async () => await promise);
    return await phase('comes too late', async () => 'done');
  });
  traces.end(open, 'CANCELLED', 'the client has gone');
  resolve();
  assert.equal(await late, 'done');
  traces.end(open, 'OK');
  const [trace, ...others] = traces.all();
  assert.deepEqual([ended, others], [['CANCELLED'], []]);
  assert.deepEqual(
    trace?.phases.map(({ name, durationMs }) => [name, durationMs]),
    [['outlives it', undefined]],
  );
});

test('a phase outside of a request is just its work', async () => {
  assert.equal(await phase('none', () => 7), 7);
  await assert.rejects(
    phase('none', () => {
      throw new Error('its own');
    }),
    /its own/,
  );
});

test('an error is kept up to a length', () => {
  const traces = new RequestTraces();
  traces.end(traces.begin(start), 'INTERNAL', 'x'.repeat(100_000));
  assert.equal(traces.all()[0]?.error?.length, 1000);
});
