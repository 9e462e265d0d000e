import { EngineError } from '../../lib/errors.ts';

/** The error for a request that cannot be met as it stands: names the field first, then what is wrong with it. */
export function invalidField(field: string, problem: string): EngineError {
  return new EngineError('invalid-argument', `${field}: ${problem}`);
}
