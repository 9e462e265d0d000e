/** The table that hack/critest ends with. */
import { failureMessage } from '../ginkgo/failure-message.ts';
import type { SpecResult } from '../ginkgo/report.ts';
import { judgeSkip, type SkipReason, versionOf } from './skip-reasons.ts';
import { type CritestRun, digestSpec } from './suite.ts';

/** What a run came to, for those who compare several. */
export interface Summary {
  readonly critest: string;
  readonly seed: number;
  /** As the OCI runtime says itself. */
  readonly runtime: string;
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly Skip[];
  /** Nothing failed, and nothing was skipped but for want of something that is not the engine's. */
  readonly isGood: boolean;
}

/** `runtime` is the program of the OCI runtime that was used. */
export function summarize(run: CritestRun, runtime: string): Summary {
  const failed = run.specs.filter((spec) => spec.state === 'failed').map((spec) => spec.name);
  const passed = run.specs.filter((spec) => spec.state === 'passed').length;
  const skipped = skipsOf(run, runtime);
  const isWhole = passed > 0 && run.suiteFailures.length === 0;
  const isGood = isWhole && failed.length === 0 && skipped.every(({ why }) => why.lackOf === 'host');
  const { version, seed } = run;
  return { critest: version, seed, runtime: versionOf(runtime), passed, failed, skipped, isGood };
}

/** Prints failures with their messages, skips by reason, and the counts. */
export function printResults(run: CritestRun, { passed, failed, skipped, ...what }: Summary): void {
  for (const [, group] of Map.groupBy(skipped, ({ why }) => `${why.lackOf}: ${why.reason}`))
    printSkips(group);
  for (const spec of run.specs)
    if (spec.state === 'failed')
      console.log(`FAILED ${spec.name} (${spec.seconds.toFixed(1)} s)\n${failureMessage(spec.message)}`);
  for (const failure of run.suiteFailures) console.log(`FAILED the suite: ${failureMessage(failure)}`);

  const skippedFor = (lackOf: SkipReason['lackOf']): number =>
    skipped.filter(({ why }) => why.lackOf === lackOf).length;
  console.log(
    `critest ${what.critest}, ${what.runtime}, seed ${what.seed}: ${passed} passed, ${failed.length} failed, ` +
      `${skippedFor('host')} skipped for want of something here, ${skippedFor('engine')} skipped by the engine`,
  );
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
