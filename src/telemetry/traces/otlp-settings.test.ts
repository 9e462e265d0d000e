import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOtlpSettings } from './otlp-settings.ts';

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };
const usual = {
  protocol: 'http/protobuf',
  sampler: { isParentBased: true, ratio: 1 },
  delayMs: 5000,
};

test('nothing is exported unless an endpoint is named and nothing says otherwise', () => {
  for (const environment of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: ' ' },
    { OTEL_TRACES_EXPORTER: 'otlp' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none' },
    { ...endpoint, OTEL_SDK_DISABLED: 'TRUE' },
  ])
    assert.equal(readOtlpSettings(environment), undefined, JSON.stringify(environment));
});

test('an endpoint is enough; what is said of traces goes first', () => {
  assert.deepEqual(readOtlpSettings(endpoint), usual);
  assert.deepEqual(
    readOtlpSettings({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4317',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc',
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_TRACES_EXPORTER: 'otlp',
    }),
    { ...usual, protocol: 'grpc', delayMs: 100 },
  );
});

test('samplers are those of the specification', () => {
  const samplers = [
    ['always_on', undefined, false, 1],
    ['always_off', undefined, false, 0],
    ['traceidratio', '0.25', false, 0.25],
    ['parentbased_always_off', undefined, true, 0],
    ['parentbased_traceidratio', '0.5', true, 0.5],
    ['parentbased_traceidratio', undefined, true, 1],
  ] as const;
  for (const [name, argument, isParentBased, ratio] of samplers) {
    const environment = { ...endpoint, OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: argument };
    assert.deepEqual(readOtlpSettings(environment)?.sampler, { isParentBased, ratio }, name);
  }
});

test('values that are not known are refused by the name of their variable', () => {
  for (const [name, value] of [
    ['OTEL_TRACES_EXPORTER', 'zipkin'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'http/json'],
    ['OTEL_TRACES_SAMPLER', 'jaeger_remote'],
    ['OTEL_BSP_SCHEDULE_DELAY', 'soon'],
  ] as const)
    assert.throws(
      () => readOtlpSettings({ ...endpoint, [name]: value }),
      new RegExp(`^RangeError: ${name}: ${value}`),
    );
  const ratio = { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' };
  assert.throws(() => readOtlpSettings({ ...endpoint, ...ratio }), /OTEL_TRACES_SAMPLER_ARG: 2/);
});
