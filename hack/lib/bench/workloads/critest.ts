/** The benchmarks that critest brings along, where it is on PATH: its own client, its own pods (whose processes share a PID namespace). */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine } from '../engine.ts';
import { busyboxReference } from '../images.ts';
import { isInstalled } from '../installed.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const widths = [1, 10];
const samplesPerRound = 20;
const limitMs = 600_000;
/** What critest writes, by what it has measured. */
const files = ['pod_benchmark_data.json', 'container_benchmark_data.json'] as const;

/** What critest writes of one benchmark. */
interface Results {
  readonly operationsNames: readonly string[];
  readonly datapoints: readonly { readonly operationsDurationsNs: readonly number[] }[];
}

export async function critest(context: WorkloadContext): Promise<void> {
  if (!isInstalled('critest')) {
    context.say('critest: left out, as it is not on PATH');
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'gantry-critest-'));
  try {
    for (const width of widths)
      await alternating(context, async (engine, round) => {
        measure(context, engine, { width, directory });
        context.say(`critest: ${engine.name}, ${width} at once, round ${round + 1}`);
      });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function measure(
  { measurements, registry }: WorkloadContext,
  engine: Engine,
  { width, directory }: { readonly width: number; readonly directory: string },
): void {
  const images = join(directory, 'images.yaml');
  const parameters = join(directory, 'parameters.yaml');
  writeFileSync(images, JSON.stringify({ defaultTestContainerImage: busyboxReference(registry) }));
  writeFileSync(
    parameters,
    JSON.stringify({
      podsNumber: samplesPerRound,
      podsNumberParallel: width,
      containersNumber: samplesPerRound,
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
  for (const file of files) rmSync(join(directory, file), { force: true });
  run(flags);
  for (const file of files) {
    const { operationsNames, datapoints } = JSON.parse(
      readFileSync(join(directory, file), 'utf8'),
    ) as Results;
    for (const [index, name] of operationsNames.entries())
      measurements.add(
        { workload: `critest, ${width}`, operation: name, unit: 'ms', engine: engine.name },
        ...datapoints.map(({ operationsDurationsNs }) => millisecondsOf(operationsDurationsNs[index])),
      );
  }
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
