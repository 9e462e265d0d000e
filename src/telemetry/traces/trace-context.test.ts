import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newSpanId, newTraceId, parseTraceparent } from './trace-context.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';

test('a traceparent of this or of a later version is read', () => {
  for (const [header, isSampled] of [
    [`00-${traceId}-${spanId}-01`, true],
    [`00-${traceId}-${spanId}-00`, false],
    [`00-${traceId}-${spanId}-03`, true],
    [`cc-${traceId}-${spanId}-01-what-comes-later`, true],
  ] as const)
    assert.deepEqual(parseTraceparent(header), { traceId, spanId, isSampled }, header);
});

test('a traceparent that breaks the rules is none', () => {
  for (const header of [
    '',
    `${traceId}-${spanId}`,
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId}-${spanId}-1`,
    ` 00-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01\n`,
  ])
    assert.equal(parseTraceparent(header), undefined, JSON.stringify(header));
});

test('new ids are hex digits and differ', () => {
  assert.match(newTraceId(), /^[0-9a-f]{32}$/);
  assert.match(newSpanId(), /^[0-9a-f]{16}$/);
  assert.notEqual(newSpanId(), newSpanId());
});
