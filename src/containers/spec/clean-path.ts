import { posix } from 'node:path';
import { invalidField } from './invalid-field.ts';

/** An absolute path without `.`, `..`, doubled and trailing slashes. @throws EngineError invalid-argument */
export function cleanPath(path: string, field: string): string {
  if (!path.startsWith('/')) throw invalidField(field, `${JSON.stringify(path)} is not an absolute path`);
  if (path.includes('\0')) throw invalidField(field, 'the path holds a NUL character');
  const clean = posix.normalize(path).replace(/^\/+/, '/');
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

/** True for `directory` itself and whatever lies in it. Both are clean paths. */
export function isAtOrBelow(path: string, directory: string): boolean {
  return directory === '/' || path === directory || path.startsWith(`${directory}/`);
}
