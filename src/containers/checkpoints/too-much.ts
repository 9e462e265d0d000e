import { EngineError } from '../../lib/errors.ts';

/** A checkpoint that would give a container more than its request, or something else. */
export function tooMuch(what: string): EngineError {
  return new EngineError('permission-denied', `the checkpoint does not fit the request: ${what}`);
}
