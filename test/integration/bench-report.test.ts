/** How hack/bench counts: what it says of samples, and of two engines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { picture } from '../../hack/lib/bench/picture.ts';
import { json, ratioOf, rowsOf, table } from '../../hack/lib/bench/report.ts';
import { Measurements, summarize } from '../../hack/lib/bench/samples.ts';

const engines = ['ours', 'theirs'];

function measured(): Measurements {
  const measurements = new Measurements();
  const calls = { workload: 'lifecycle', operation: 'RunPodSandbox', unit: 'ms' } as const;
  // Begun by the other: the order of samples says nothing of who is whose peer.
  measurements.add({ ...calls, engine: 'theirs' }, 90, 110, 100);
  measurements.add({ ...calls, engine: 'ours' }, 8, 7);
  measurements.add({ ...calls, engine: 'ours' }, 1000);
  const lives = { workload: '8 parallel', operation: 'pod lifecycles', unit: '1/s' } as const;
  measurements.add({ ...lives, engine: 'ours' }, 30);
  measurements.add({ ...lives, engine: 'theirs' }, 7.5);
  measurements.add({ ...lives, operation: 'alone', engine: 'ours' }, 1);
  return measurements;
}

test('the median is that of nearest rank, and few samples have no 95th percentile', () => {
  assert.deepEqual(summarize([3, 1, 2]), { count: 3, median: 2, p95: undefined });
  const twenty = Array.from({ length: 20 }, (_, index) => 20 - index);
  assert.deepEqual(summarize(twenty), { count: 20, median: 10, p95: 19 });
});

test('a ratio is ours to theirs, whoever was measured first', () => {
  const [pods, lives, alone] = rowsOf(measured().all());
  assert.ok(pods && lives && alone);
  assert.equal(ratioOf(pods, engines), 0.08);
  assert.equal(ratioOf(lives, engines), 4);
  assert.equal(ratioOf(alone, engines), undefined);
});

test('the table has a line for each operation, the JSON all samples', () => {
  const lines = table(measured().all(), engines).split('\n');
  assert.deepEqual(
    lines.map((line) => line.split(/ {2,}/)),
    [
      ['workload', 'operation', 'unit', 'ours', 'p95', 'theirs', 'p95', 'ratio', 'n'],
      ['lifecycle', 'RunPodSandbox', 'ms', '8.00', '-', '100', '-', '0.0800', '3'],
      ['8 parallel', 'pod lifecycles', '1/s', '30.0', '-', '7.50', '-', '4.00', '1'],
      ['8 parallel', 'alone', '1/s', '1.00', '-', '-', '-', '-', '1'],
    ],
  );
  const { results, measurements, machine } = JSON.parse(
    json(measured().all(), engines, { machine: 'this one' }),
  ) as {
    readonly results: readonly { readonly ratio?: number }[];
    readonly measurements: readonly { readonly samples: readonly number[] }[];
    readonly machine: string;
  };
  assert.equal(machine, 'this one');
  assert.deepEqual(
    results.map(({ ratio }) => ratio),
    [0.08, 4, undefined],
  );
  assert.deepEqual(
    measurements.map(({ samples }) => samples),
    [[90, 110, 100], [8, 7, 1000], [30], [7.5], [1]],
  );
});

test('in the picture more per second is drawn as less time for each', () => {
  const svg = picture(measured().all(), engines);
  assert.match(svg, /lifecycle: RunPodSandbox<\/text>.*0\.080 times/);
  assert.match(svg, /8 parallel: pod lifecycles, time for each<\/text>.*0\.25 times/);
  assert.doesNotMatch(svg, /alone/);
});
