/** Reading single wire fields. Every refusal names the field as the proto file spells its path. */
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';

/** proto3 has no "unset" for text: the empty text means it. */
export function textOf(value: string): string | undefined {
  return value === '' ? undefined : value;
}

/** @throws EngineError invalid-argument if the message is absent */
export function required<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw new EngineError('invalid-argument', `${field} is missing`);
  return value;
}

/** @throws EngineError invalid-argument if the text is empty */
export function requiredText(value: string, field: string): string {
  if (value === '') throw new EngineError('invalid-argument', `${field} is missing`);
  return value;
}

/** A 64-bit wire integer as a number. @throws EngineError invalid-argument beyond 2^53 */
export function integer(value: bigint, field: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number))
    throw new EngineError('invalid-argument', `${field}: ${value} is out of range`);
  return number;
}

/** As `integer`, where 0 means unset. */
export function integerOrUnset(value: bigint, field: string): number | undefined {
  return value === 0n ? undefined : integer(value, field);
}

/** The member of a table that a wire enum's number stands for. @throws EngineError invalid-argument */
export function member<T>(table: readonly T[], value: number, field: string): T {
  const found = table[value];
  if (found === undefined)
    throw new EngineError('invalid-argument', `${field}: ${value} is not a known value`);
  return found;
}

/** @throws EngineError invalid-argument if the text is not an absolute path without NUL */
export function absolutePath(value: string, field: string): string {
  if (!value.startsWith('/') || value.includes('\0'))
    throw new EngineError('invalid-argument', `${field}: ${quote(value)} is not an absolute path`);
  return value;
}
