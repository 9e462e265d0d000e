/** Commands that take several names do what they can for each. */
import { EngineError, messageOf } from '../lib/errors.ts';

/** Calls `act` for each in order, says what failed, and goes on. @throws EngineError when one of several failed; the one's own error */
export async function forEachTarget(
  targets: readonly string[],
  act: (target: string) => Promise<void>,
): Promise<void> {
  let failures = 0;
  for (const target of targets) {
    try {
      await act(target);
    } catch (error) {
      if (targets.length === 1) throw error;
      failures += 1;
      process.stderr.write(`gantry: ${target}: ${messageOf(error)}\n`);
    }
  }
  if (failures > 0) throw new EngineError('internal', `${failures} of ${targets.length} failed`);
}
