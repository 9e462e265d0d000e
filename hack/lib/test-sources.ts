/** What a test consists of. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** The text of a test file and of all that it imports by relative paths. */
export function sourcesOf(file: string): string {
  const texts = new Map<string, string>();
  const read = (path: string): void => {
    if (texts.has(path) || !existsSync(path)) return;
    const text = readFileSync(path, 'utf8');
    texts.set(path, text);
    for (const [, specifier = ''] of text.matchAll(/ from '(\.{1,2}\/[^']+)'/g))
      read(resolve(dirname(path), specifier));
  };
  read(resolve(file));
  return [...texts.values()].join('\n');
}
