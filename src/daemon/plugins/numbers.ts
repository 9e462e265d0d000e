import { EngineError } from '../../lib/errors.ts';

/** A count of the wire as the engine keeps it. @throws EngineError invalid-argument that names the field, beyond 2^53 */
export function numberOf(value: bigint, field: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new EngineError('invalid-argument', `${field}: ${value} is not below 2^53`);
}

/** The name of a constant of the wire. @throws EngineError invalid-argument that names the field */
export function nameOf(names: Readonly<Record<string, number>>, value: number, field: string): string {
  const found = Object.entries(names).find(([, number]) => number === value);
  if (found === undefined) throw new EngineError('invalid-argument', `${field}: ${value} is not defined`);
  return found[0];
}
