import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { z } from 'zod';
import { messageOf } from '../../lib/errors.ts';
import { readDescription } from './read-description.ts';

const schema = z.record(z.string(), z.array(z.string().max(5)));

/** What is said of a file with this text. */
function refusal(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-description-'));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'config.dump'), text);
  try {
    readDescription(directory, 'config.dump', schema);
  } catch (error) {
    return messageOf(error);
  }
  return assert.fail('it was taken');
}

test('what is wrong with a description is said, with its place', (t) => {
  assert.match(
    refusal(t, '{"a":["b",7]}'),
    /config\.dump is not what it should be: "a\.1: .*string.*number"/,
  );
  assert.match(refusal(t, '[]'), /should be: "document: .*record/);
  assert.match(refusal(t, '{"a":'), /should be: ".*JSON/);
});

test('more of it than can be read at once is refused', (t) => {
  assert.match(
    refusal(t, `{"a":[${'{},'.repeat(100_000)}{}]}`),
    /config\.dump is not what it should be: "of 200003 brackets and commas, more than/,
  );
  assert.match(refusal(t, '['.repeat(1000)), /should be: "nested deeper than/);
});

test('a hostile description makes no long or many-lined message', (t) => {
  for (const text of [
    JSON.stringify({ ['\n'.repeat(10_000)]: [7] }),
    JSON.stringify({ a: Array.from({ length: 10_000 }, () => 7) }),
    `\u001b[31m${'x'.repeat(10_000)}`,
  ]) {
    const message = refusal(t, text);
    assert.ok(message.length < 1000, message);
    assert.match(message, /^[ -~’]+$/);
  }
});
