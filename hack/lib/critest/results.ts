/** The table that hack/critest ends with. */
import type { SpecResult } from '../node-e2e/report.ts';
import { judgeSkip, type SkipReason } from './skip-reasons.ts';
import { type CritestRun, digestSpec } from './suite.ts';

const messageLines = 30;

/** Prints failures with their messages, skips by reason, and the counts. Returns whether all is well. */
export function printResults(run: CritestRun, runtime: string): boolean {
  const passed = run.specs.filter((spec) => spec.state === 'passed');
  const failed = run.specs.filter((spec) => spec.state === 'failed');
  const skips = skipsOf(run, runtime);
  for (const [, group] of Map.groupBy(skips, ({ why }) => `${why.lackOf}: ${why.reason}`)) printSkips(group);
  for (const spec of failed)
    console.log(`FAILED ${spec.name} (${spec.seconds.toFixed(1)} s)\n${indented(spec.message)}`);
  for (const failure of run.suiteFailures) console.log(`FAILED the suite: ${indented(failure)}`);

  const skippedFor = (lackOf: SkipReason['lackOf']): number =>
    skips.filter(({ why }) => why.lackOf === lackOf).length;
  console.log(
    `critest ${run.version}, seed ${run.seed}: ${passed.length} passed, ${failed.length} failed, ` +
      `${skippedFor('host')} skipped for want of something here, ${skippedFor('engine')} skipped by the engine`,
  );
  const isWhole = passed.length > 0 && run.suiteFailures.length === 0;
  return isWhole && failed.length === 0 && skippedFor('engine') === 0;
}

/** A spec that did not run. */
interface Skip {
  readonly name: string;
  readonly why: SkipReason;
}

/** What was skipped, and whose lack that is; `runtime` is the program of the OCI runtime that was used. */
export function skipsOf(run: CritestRun, runtime: string): readonly Skip[] {
  const own = run.specs
    .filter((spec) => spec.state === 'skipped')
    .map((spec: SpecResult) => ({ name: spec.name, why: judgeSkip(spec.message, runtime) }));
  if (!run.pinsForeignDigest) return own;
  const reason = 'this critest pulls by the digest of an upstream image (docs/conformance.md)';
  return [...own, { name: digestSpec, why: { lackOf: 'host', reason } }];
}

function printSkips(skips: readonly Skip[]): void {
  const [first] = skips;
  if (first === undefined) return;
  const whose = first.why.lackOf === 'host' ? 'skipped here' : 'SKIPPED BY THE ENGINE';
  console.log(`${whose}, ${skips.length}: ${first.why.reason}`);
  for (const { name } of skips) console.log(`    ${name}`);
}

function indented(text: string): string {
  const lines = text.trimEnd().split('\n');
  const shown = lines.length > messageLines ? [...lines.slice(0, messageLines), '...'] : lines;
  return shown.map((line) => `    ${line}`).join('\n');
}
