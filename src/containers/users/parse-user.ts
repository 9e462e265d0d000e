import { quote } from '../../lib/ids.ts';
import { EngineError } from '../../lib/errors.ts';

/** A user or a group as somebody wrote it. */
export type Identity =
  | { readonly kind: 'id'; readonly id: number }
  | { readonly kind: 'name'; readonly name: string };

/** The two halves of `user[:group]`; a half that is empty is left out. */
export interface UserReference {
  readonly user?: Identity;
  readonly group?: Identity;
}

/** Runtimes keep ids in a signed 32-bit number. */
export const maxId = 2 ** 31 - 1;

/**
 * Reads the USER of an image, or a user of a request.
 *
 * @param field what the text is, for the error
 * @throws EngineError invalid-argument
 */
export function parseUserReference(text: string, field: string): UserReference {
  const [user = '', group = '', ...rest] = text.split(':');
  if (rest.length > 0) throw invalid(field, text, 'is not of the form user:group');
  return {
    ...(user === '' ? {} : { user: parseIdentity(user, field) }),
    ...(group === '' ? {} : { group: parseIdentity(group, field) }),
  };
}

/**
 * CVE-2024-40635, CVE-2026-46680: text of digits alone is an id or an error. Taken for a name when it is out of range, it
 * could be mapped to root by the image's own /etc/passwd, or wrap around to 0.
 */
function parseIdentity(text: string, field: string): Identity {
  if (/^[+-]?\d+$/.test(text)) {
    const id = Number(text);
    if (!/^\d+$/.test(text) || !isId(id)) throw invalid(field, text, `is not an id between 0 and ${maxId}`);
    return { kind: 'id', id };
  }
  if (text.length > 256 || /[\p{Cc}\s/]/u.test(text))
    throw invalid(field, text, 'is not a user or group name');
  return { kind: 'name', name: text };
}

/** True for a number that can be a uid or a gid. */
export function isId(id: number): boolean {
  return Number.isInteger(id) && id >= 0 && id <= maxId;
}

function invalid(field: string, text: string, problem: string): EngineError {
  return new EngineError('invalid-argument', `${field}: ${quote(text)} ${problem}`);
}
