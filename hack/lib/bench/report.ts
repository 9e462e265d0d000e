/** A run's measurements as a table for people and as JSON for programs. */
import { type Measurement, type Summary, summarize } from './samples.ts';

export interface Row {
  readonly workload: string;
  readonly operation: string;
  readonly unit: Measurement['unit'];
  /** By engine. */
  readonly summaries: ReadonlyMap<string, Summary>;
}

export function rowsOf(measurements: readonly Measurement[]): Row[] {
  const rows = new Map<string, Row & { readonly summaries: Map<string, Summary> }>();
  for (const { workload, operation, unit, engine, samples } of measurements) {
    const key = `${workload}\n${operation}`;
    const row = rows.get(key) ?? { workload, operation, unit, summaries: new Map<string, Summary>() };
    row.summaries.set(engine, summarize(samples));
    rows.set(key, row);
  }
  return [...rows.values()];
}

/** Of medians, the first engine's to the second's. For what happens per second more is better, for the rest less. */
export function ratioOf({ summaries }: Row, [first, second]: readonly string[]): number | undefined {
  const own = summaries.get(first ?? '')?.median;
  const peer = summaries.get(second ?? '')?.median;
  return own === undefined || peer === undefined || peer === 0 ? undefined : own / peer;
}

/** One line for each operation: median and 95th percentile of each engine, and the ratio of the medians. */
export function table(measurements: readonly Measurement[], engines: readonly string[]): string {
  const rows = rowsOf(measurements);
  const head = ['workload', 'operation', 'unit', ...engines.flatMap((name) => [name, 'p95']), 'ratio', 'n'];
  const lines = rows.map((row) => [
    row.workload,
    row.operation,
    row.unit,
    ...engines.flatMap((name) => {
      const summary = row.summaries.get(name);
      return [digits(summary?.median), digits(summary?.p95)];
    }),
    digits(ratioOf(row, engines)),
    samplesOf(row, engines),
  ]);
  return align([head, ...lines]);
}

/** How many of them a ratio is made of, at least. */
function samplesOf({ summaries }: Row, [first, second]: readonly string[]): string {
  const counts = [first, second].flatMap((name) => summaries.get(name ?? '')?.count ?? []);
  return counts.length === 0 ? '-' : String(Math.min(...counts));
}

/** Everything, samples included. `engines` as for the table. */
export function json(
  measurements: readonly Measurement[],
  engines: readonly string[],
  about: Readonly<Record<string, unknown>>,
): string {
  const results = rowsOf(measurements).map((row) => ({
    workload: row.workload,
    operation: row.operation,
    unit: row.unit,
    ratio: ratioOf(row, engines),
    engines: Object.fromEntries(row.summaries),
  }));
  return JSON.stringify({ ...about, results, measurements }, undefined, 1);
}

/** Three that count. */
function digits(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '-';
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

const textColumns = 3;

function align(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) =>
          column < textColumns ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
