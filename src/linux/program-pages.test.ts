import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { programParts, unmapProgramPages } from './program-pages.ts';

test('what is unmapped of the program comes back when it is used', () => {
  const before = residentBytes();
  unmapProgramPages();
  assert.ok(residentBytes() < before / 2, `${residentBytes()} of ${before} bytes are still mapped`);
  const text = 'of code that was not used for a while '.repeat(1000);
  assert.equal(gunzipSync(gzipSync(text)).toString(), text);
  assert.equal(new Intl.NumberFormat('de').format(1234.5), '1.234,5');
});

function residentBytes(): number {
  return programParts().reduce((sum, part) => sum + part.residentBytes, 0);
}
