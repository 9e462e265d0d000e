/**
 * critest in every way that it is to pass (usage: hack/conformance): on each kind of host, with each runtime, three times in
 * another order, and what it streams over WebSocket as well as over SPDY. Prints a table for docs/conformance.md.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planRuns, type Run } from './matrix-options.ts';
import type { Summary } from './results.ts';

interface Ended extends Run {
  readonly summary: Summary | undefined;
  readonly seconds: number;
}

const runs = planned();
const logs = mkdtempSync(join(tmpdir(), 'gantry-conformance-'));

function planned(): readonly Run[] {
  try {
    return planRuns(process.argv.slice(2));
  } catch (error) {
    console.error(`hack/conformance: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(2);
  }
}

/** The specs that stream nothing are the same over either: they run once for each order. */
function runOne(run: Run, directory: string): Ended {
  const argv = ['--runtime', run.runtime, '--streaming', run.streaming, '--seed', String(run.seed)];
  if (run.streaming === 'websocket') argv.push('--focus', 'Streaming');
  if (run.place === 'vm') argv.push('--vm');
  const startedAt = Date.now();
  spawnSync('hack/critest', [...argv, '--logs', directory], { stdio: ['ignore', 'inherit', 'inherit'] });
  const file = join(directory, run.place === 'vm' ? 'critest' : '', 'summary.json');
  const summary = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Summary) : undefined;
  return { ...run, summary, seconds: Math.round((Date.now() - startedAt) / 1000) };
}

function row({ place, runtime, streaming, seed, summary, seconds }: Ended): string {
  const counts = summary
    ? [summary.passed, summary.failed.length, summary.skipped.length]
    : ['-', 'did not run', '-'];
  const what = streaming === 'spdy' ? 'all, SPDY' : 'streaming, WebSocket';
  return `| ${[place, summary?.runtime ?? runtime, what, seed, ...counts, `${seconds} s`].join(' | ')} |`;
}

const ended = runs.map((run, index) => {
  console.log(`--- ${run.place}, ${run.runtime}, ${run.streaming}, seed ${run.seed}`);
  return runOne(run, join(logs, `${index + 1}-${run.place}-${run.runtime}-${run.streaming}`));
});
console.log(`\nlogs: ${logs}\n`);
console.log('| host | runtime | specs | seed | passed | failed | skipped | wall |');
console.log('|---|---|---|---|---|---|---|---|');
for (const one of ended) console.log(row(one));
const reasons = new Map(
  ended.flatMap(({ summary }) => summary?.skipped ?? []).map(({ name, why }) => [name, why]),
);
for (const [name, why] of reasons) console.log(`skipped (${why.lackOf}): ${name}: ${why.reason}`);
process.exitCode = ended.length > 0 && ended.every(({ summary }) => summary?.isGood === true) ? 0 : 1;
