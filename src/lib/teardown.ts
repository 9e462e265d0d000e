import { EngineError, messageOf } from './errors.ts';

/** One idempotent step of giving something back, and what it does in the words of an error. */
export type TeardownStep = readonly [what: string, step: () => void | Promise<void>];

type Failure = readonly [what: string, error: unknown];

/**
 * Tries every step in order, also after one that failed, so that a single stuck resource does not leak the others. `around` is
 * called with each, and calls it.
 *
 * @throws EngineError of the first failure's kind, naming every step that failed
 */
export async function tearDown(
  subject: string,
  steps: readonly TeardownStep[],
  around: (what: string, step: TeardownStep[1]) => void | Promise<void> = async (_, step) => await step(),
): Promise<void> {
  const failures: Failure[] = [];
  for (const [what, step] of steps) {
    try {
      await around(what, step);
    } catch (error) {
      failures.push([what, error]);
    }
  }
  throwFailures(subject, failures);
}

/** What failed of several things that were all tried. @throws EngineError of the first failure's kind, naming all; nothing if there is none */
export function throwFailures(subject: string, failures: readonly Failure[]): void {
  const [first] = failures;
  if (first === undefined) return;
  const texts = failures.map(([what, error]) => `${what}: ${messageOf(error)}`);
  const [, cause] = first;
  throw new EngineError(EngineError.from(cause).kind, `${subject}: ${texts.join('; ')}`, { cause });
}
