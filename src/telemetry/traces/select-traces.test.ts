import assert from 'node:assert/strict';
import { test } from 'node:test';
import { selectTraces, type TraceQuery } from './select-traces.ts';
import type { Trace } from './trace.ts';

const podId = 'ab'.repeat(32);
const base: Trace = {
  traceId: '1'.repeat(32),
  spanId: '1'.repeat(16),
  parent: undefined,
  method: 'RunPodSandbox',
  isRead: false,
  startedAtMs: 1,
  durationMs: 1,
  code: 'OK',
  error: undefined,
  subject: { podId, podName: 'web', podNamespace: 'default' },
  phases: [],
  droppedPhases: 0,
};
const create: Trace = { ...base, spanId: '2'.repeat(16), method: 'CreateContainer', startedAtMs: 2 };
const failed: Trace = {
  ...base,
  spanId: '3'.repeat(16),
  traceId: '9'.repeat(32),
  method: 'PullImage',
  startedAtMs: 3,
  durationMs: 30,
  code: 'NOT_FOUND',
  subject: { image: 'registry.test/a:1' },
};
const list: Trace = { ...base, spanId: '4'.repeat(16), method: 'ListContainers', isRead: true, subject: {} };
const running: Trace = {
  ...base,
  spanId: '5'.repeat(16),
  method: 'StopPodSandbox',
  startedAtMs: 5,
  durationMs: 20,
  code: undefined,
};
const all = [running, failed, list, create, base];

function select(query: Partial<TraceQuery>): string[] {
  const usual = { onlyFailed: false, withReads: false, order: 'latest', limit: 10 } as const;
  return selectTraces(all, { ...usual, ...query }).map(({ method }) => method);
}

test('the latest are told, oldest first, without reads', () => {
  assert.deepEqual(select({}), ['RunPodSandbox', 'CreateContainer', 'PullImage', 'StopPodSandbox']);
  assert.deepEqual(select({ limit: 2 }), ['PullImage', 'StopPodSandbox']);
  assert.equal(select({ withReads: true }).length, 5);
  assert.deepEqual(select({ limit: 0 }), []);
});

test('the slowest are told slowest first', () => {
  assert.deepEqual(select({ order: 'slowest', limit: 2 }), ['PullImage', 'StopPodSandbox']);
});

test('a request is found by its id, all of a trace by the trace’s', () => {
  assert.deepEqual(select({ id: '222' }), ['CreateContainer']);
  assert.deepEqual(select({ id: '4444' }), ['ListContainers']);
  assert.deepEqual(select({ id: '9'.repeat(32) }), ['PullImage']);
  assert.deepEqual(select({ id: 'f' }), []);
});

test('requests are found by pod, method and failure', () => {
  const ofPod = ['RunPodSandbox', 'CreateContainer', 'StopPodSandbox'];
  for (const pod of ['web', 'default/web', podId, podId.slice(0, 12)])
    assert.deepEqual(select({ pod }), ofPod);
  for (const pod of ['we', 'ab', 'other/web']) assert.deepEqual(select({ pod }), []);
  assert.deepEqual(select({ method: 'listcontainers' }), ['ListContainers']);
  assert.deepEqual(select({ onlyFailed: true }), ['PullImage']);
});
