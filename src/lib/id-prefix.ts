import { EngineError } from './errors.ts';
import { quote } from './ids.ts';

const hexPattern = /^[0-9a-f]{1,64}$/;

/**
 * Finds the one object whose 64-hex id is `text` or begins with it, as people type ids.
 * Returns undefined when there is none.
 *
 * @throws EngineError invalid-argument when several begin with it
 */
export function findByIdPrefix<K extends string, T>(
  objects: Iterable<[K, T]>,
  get: (id: K) => T | undefined,
  text: string,
): T | undefined {
  if (!hexPattern.test(text)) return undefined;
  if (text.length === 64) return get(text as K);
  let found: T | undefined;
  for (const [id, object] of objects) {
    if (!id.startsWith(text)) continue;
    if (found !== undefined)
      throw new EngineError('invalid-argument', `id prefix ${quote(text)} is ambiguous`);
    found = object;
  }
  return found;
}
