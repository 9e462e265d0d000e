/** The benchmarks that critest brings along: its own client, its own pods (whose processes share a PID namespace). */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

/** Enough samples that beginning and end of a round, when fewer pods are at work, are a small part of it. */
const crowds = [
  { width: 1, samples: 20 },
  { width: 8, samples: 100 },
  { width: 10, samples: 100 },
] as const;
const limitMs = 600_000;
/** What critest writes, by what it has measured the lives of. */
const files = { pod: 'pod_benchmark_data.json', container: 'container_benchmark_data.json' } as const;

/** What critest writes of one benchmark. */
interface Results {
  readonly operationsNames: readonly string[];
  readonly datapoints: readonly {
    /** In nanoseconds since 1970. */
    readonly startTime: number;
    readonly endTime: number;
    readonly operationsDurationsNs: readonly number[];
  }[];
}

export async function critest(context: WorkloadContext): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-critest-'));
  try {
    for (const crowd of crowds)
      await alternating(context, async (engine, round) => {
        measure(context, engine, { ...crowd, directory });
        context.say(`critest: ${engine.name}, ${crowd.width} at once, round ${round + 1}`);
      });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function measure(
  { measurements, registry }: WorkloadContext,
  engine: Engine,
  { width, samples, directory }: (typeof crowds)[number] & { readonly directory: string },
): void {
  const images = join(directory, 'images.yaml');
  const parameters = join(directory, 'parameters.yaml');
  writeFileSync(images, JSON.stringify({ defaultTestContainerImage: busyboxReference(registry) }));
  writeFileSync(
    parameters,
    JSON.stringify({
      podsNumber: samples,
      podsNumberParallel: width,
      containersNumber: samples,
      containersNumberParallel: width,
    }),
  );
  const flags = [
    '--benchmark',
    `--runtime-endpoint=unix://${engine.socket}`,
    `--test-images-file=${images}`,
    `--benchmarking-params-file=${parameters}`,
    `--benchmarking-output-dir=${directory}`,
  ];
  for (const file of Object.values(files)) rmSync(join(directory, file), { force: true });
  run(flags);
  const series = { workload: `critest, ${width}`, engine: engine.name };
  for (const [subject, file] of Object.entries(files)) {
    const results = JSON.parse(readFileSync(join(directory, file), 'utf8')) as Results;
    for (const [index, name] of results.operationsNames.entries())
      measurements.add(
        { ...series, operation: name, unit: 'ms' },
        ...results.datapoints.map(({ operationsDurationsNs }) =>
          millisecondsOf(operationsDurationsNs[index]),
        ),
      );
    // Between the lives of containers critest makes and removes their pods, which it does not time.
    if (subject === 'pod')
      measurements.add({ ...series, operation: 'pod lifecycles', unit: '1/s' }, livesPerSecond(results));
  }
}

function livesPerSecond({ datapoints }: Results): number {
  if (datapoints.length === 0) throw new Error('critest has measured nothing');
  const firstStart = Math.min(...datapoints.map(({ startTime }) => startTime));
  const lastEnd = Math.max(...datapoints.map(({ endTime }) => endTime));
  return datapoints.length / ((lastEnd - firstStart) / 1e9);
}

function millisecondsOf(durationNs: number | undefined): number {
  if (durationNs === undefined) throw new Error('critest has left out an operation');
  return durationNs / 1e6;
}

/** @throws Error with the end of what critest said */
function run(flags: readonly string[]): void {
  try {
    execFileSync('critest', flags, { timeout: limitMs, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stdout = '' } = error as { stdout?: string };
    throw new Error(`critest failed:\n${stdout.slice(-2000)}`, { cause: error });
  }
}
