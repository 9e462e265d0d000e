import { EngineError, messageOf } from './errors.ts';

/** One idempotent step of giving something back, and what it does in the words of an error. */
export type TeardownStep = readonly [what: string, step: () => void | Promise<void>];

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
  const failures: string[] = [];
  let first: unknown;
  for (const [what, step] of steps) {
    try {
      await around(what, step);
    } catch (error) {
      first ??= error;
      failures.push(`${what}: ${messageOf(error)}`);
    }
  }
  if (failures.length === 0) return;
  throw new EngineError(EngineError.from(first).kind, `${subject}: ${failures.join('; ')}`, { cause: first });
}
