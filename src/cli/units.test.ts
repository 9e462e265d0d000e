import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAge, formatBytes, formatDuration, isoOfNs, parseDurationMs, shortId } from './units.ts';

test('ages are told in their greatest unit', () => {
  const minute = 60_000;
  const cases: readonly (readonly [number, string])[] = [
    [-5, '0s'],
    [59_999, '59s'],
    [3 * minute, '3m'],
    [119 * minute, '1h'],
    [47 * 60 * minute, '47h'],
    [48 * 60 * minute, '2d'],
  ];
  for (const [ageMs, expected] of cases) assert.equal(formatAge(1_000_000, 1_000_000 + ageMs), expected);
});

test('durations have about three digits', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0.00ms'],
    [0.044, '0.04ms'],
    [9.99, '9.99ms'],
    [9.999, '10.0ms'],
    [123.45, '123.5ms'],
    [999.96, '1.00s'],
    [4567, '4.57s'],
    [60_000, '1m00s'],
    [187_400, '3m07s'],
  ];
  for (const [ms, expected] of cases) assert.equal(formatDuration(ms), expected);
});

test('bytes have three digits at most', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0B'],
    [999, '999B'],
    [1000, '1.0KiB'],
    [1_992_294, '1.9MiB'],
    [250 * 1024 ** 2, '250MiB'],
    [5 * 1024 ** 4, '5.0TiB'],
  ];
  for (const [bytes, expected] of cases) assert.equal(formatBytes(bytes), expected);
});

test('durations are read in the forms that people write', () => {
  const cases: readonly (readonly [string, number | undefined])[] = [
    ['90', 90_000],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['10x', undefined],
    ['', undefined],
    ['2026-01-31', undefined],
  ];
  for (const [text, expected] of cases) assert.equal(parseDurationMs(text), expected);
});

test('an id is cut after 12 digits, its hash named no more', () => {
  assert.equal(shortId(`sha256:${'ab'.repeat(32)}`), 'abababababab');
});

test('the time 0 stands for never', () => {
  assert.equal(isoOfNs(0n), undefined);
  assert.equal(isoOfNs(1_700_000_000_123_456_789n), '2023-11-14T22:13:20.123Z');
});
