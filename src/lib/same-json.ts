import { isDeepStrictEqual } from 'node:util';

/** Whether two values are the same once they have been written as JSON: what is undefined is absent, order in objects does not count. */
export function isSameJson(one: unknown, other: unknown): boolean {
  return isDeepStrictEqual(JSON.parse(JSON.stringify(one)), JSON.parse(JSON.stringify(other)));
}
