/** What Ginkgo's JSON report says about each spec of a suite. */
import { z } from 'zod';

const nodeSchema = z.object({ Message: z.string().default('') });

const specSchema = z.object({
  ContainerHierarchyTexts: z.array(z.string()).nullish(),
  LeafNodeType: z.string(),
  LeafNodeText: z.string(),
  State: z.string(),
  RunTime: z.number(),
  Failure: nodeSchema.optional(),
});

const reportSchema = z.array(
  z.object({
    SuiteSucceeded: z.boolean(),
    SpecialSuiteFailureReasons: z.array(z.string()).nullish(),
    SpecReports: z.array(specSchema).nullish(),
  }),
);

type SpecState = 'passed' | 'failed' | 'skipped';

/** One spec that was chosen; what the focus leaves out is not listed. */
export interface SpecResult {
  readonly name: string;
  readonly state: SpecState;
  readonly seconds: number;
  /** Why it failed, or why it skipped itself. */
  readonly message: string;
}

export interface SuiteReport {
  readonly specs: readonly SpecResult[];
  /** What kept the suite itself from running, or from running to its end. */
  readonly suiteFailures: readonly string[];
}

const nanosecondsPerSecond = 1e9;

/**
 * Reads a report (`ginkgo --json-report`). A spec that the focus left out is marked as skipped without a word, one that
 * skips itself says why; what is neither passed nor skipped (timedout, panicked, interrupted, aborted) has failed.
 * Nodes that are not specs (the suite's own set-up) count only when they failed.
 *
 * @throws SyntaxError or ZodError when it is none
 */
export function readReport(json: string): SuiteReport {
  const specs: SpecResult[] = [];
  const suiteFailures: string[] = [];
  for (const suite of reportSchema.parse(JSON.parse(json))) {
    for (const spec of suite.SpecReports ?? []) {
      const message = spec.Failure?.Message ?? '';
      const state = stateOf(spec.State, message);
      if (spec.LeafNodeType !== 'It') {
        if (state === 'failed') suiteFailures.push(`${spec.LeafNodeType}: ${message}`);
        continue;
      }
      if (state === undefined) continue;
      const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(' ');
      specs.push({ name, state, seconds: spec.RunTime / nanosecondsPerSecond, message });
    }
    suiteFailures.push(...(suite.SpecialSuiteFailureReasons ?? []));
  }
  return { specs, suiteFailures };
}

function stateOf(state: string, message: string): SpecState | undefined {
  if (state === 'passed') return 'passed';
  if (state === 'skipped') return message === '' ? undefined : 'skipped';
  return state === 'pending' ? undefined : 'failed';
}
