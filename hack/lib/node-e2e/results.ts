/** The table that hack/node-e2e ends with. */
import { failureMessage } from '../ginkgo/failure-message.ts';
import { countByArea } from './areas.ts';
import { hostLackOf } from './host-lacks.ts';
import type { SpecResult, SuiteReport } from '../ginkgo/report.ts';

/** Prints every failure with its message, every skip by its reason, and the counts of each area and of all. Returns whether all is well. */
export function printResults(report: SuiteReport): boolean {
  const of = (state: SpecResult['state']): SpecResult[] =>
    report.specs.filter((spec) => spec.state === state).toSorted((a, b) => a.name.localeCompare(b.name));
  const [passed, failed, skipped] = [of('passed'), of('failed'), of('skipped')];
  const reasons = new Map(failed.map((spec) => [spec, hostLackOf(spec)]));
  const unexplained = failed.filter((spec) => reasons.get(spec) === undefined);

  for (const [reason, specs] of Map.groupBy(skipped, (spec) => firstLine(spec.message)))
    console.log(`skipped ${specs.length}: ${reason}${specs.map((spec) => `\n    ${spec.name}`).join('')}`);
  for (const spec of failed) {
    const reason = reasons.get(spec);
    if (reason !== undefined)
      console.log(`FAILED, as this host lacks something: ${spec.name}\n    ${reason}`);
  }
  for (const spec of unexplained) console.log(`FAILED ${spec.name}\n${failureMessage(spec.message)}`);
  for (const failure of report.suiteFailures) console.log(`FAILED the suite: ${failureMessage(failure)}`);
  for (const area of countByArea(report.specs))
    console.log(
      `${area.name.padEnd(38)} ${area.passed} passed, ${area.failed} failed, ${area.skipped} skipped`,
    );
  const lacks = failed.length - unexplained.length;
  console.log(
    `${passed.length} passed, ${unexplained.length} failed, ${lacks} failed by what this host lacks, ${skipped.length} skipped themselves`,
  );
  return unexplained.length === 0 && report.suiteFailures.length === 0 && passed.length > 0;
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}
