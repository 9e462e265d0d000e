/** docs/security.md names files that guard and files that test: they exist, and the tests carry the numbers. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/security.md'), 'utf8');
const number = /CVE-\d{4}-\d+|GHSA(?:-\w{4}){3}|[\w/-]+#\d+/g;

interface Row {
  readonly name: string;
  /** Numbers, or the words that stand for one. */
  readonly identifiers: readonly string[];
  readonly guards: readonly string[];
  readonly tests: readonly string[];
}

/** Rows that name tests; those of what is not built have none. */
const rows: readonly Row[] = page
  .split('\n')
  .filter((line) => line.startsWith('|') && line.includes('.test.ts`'))
  .map((line) => {
    const cells = line.split('|').map((cell) => cell.trim());
    const [, name = ''] = cells;
    const files = (cell: string | undefined): string[] =>
      [...(cell ?? '').matchAll(/`([^`]+\.ts)`/g)].map(([, path = '']) => path);
    return {
      name,
      identifiers: name.match(number) ?? [name],
      guards: files(cells.at(-3)),
      tests: files(cells.at(-2)),
    };
  });

/** A string of the file that begins on the same line: titles, and the parts that they are made of. */
function isNamedIn(text: string, identifier: string): boolean {
  const quoted = identifier.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`['"\`][^'"\`\\n]*${quoted}(?![\\w-])`).test(text);
}

test('docs/security.md has the attacks and the problems', () => {
  assert.ok(rows.length >= 60, `${rows.length} rows`);
});

for (const { name, identifiers, guards, tests } of rows) {
  test(`docs/security.md: ${name}`, () => {
    assert.ok(guards.length > 0, 'is guarded somewhere');
    for (const path of [...guards, ...tests])
      assert.ok(existsSync(join(root, path)), `${path} does not exist`);
    const texts = tests.map((path) => [path, readFileSync(join(root, path), 'utf8')] as const);
    for (const [path, text] of texts)
      assert.ok(
        identifiers.some((identifier) => isNamedIn(text, identifier)),
        `${path} has no test with such a name`,
      );
    for (const identifier of identifiers)
      assert.ok(
        texts.some(([, text]) => isNamedIn(text, identifier)),
        `no test carries ${identifier}`,
      );
  });
}
