import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { gunzipSync, gzipSync } from 'node:zlib';
import { unchangedParts, unmapProgramPages } from './program-pages.ts';

test('what is unmapped of the program comes back when it is used', () => {
  const before = residentKb();
  unmapProgramPages();
  assert.ok(residentKb() < before / 2, `${residentKb()} of ${before} kB are still mapped`);
  const text = 'of code that was not used for a while '.repeat(1000);
  assert.equal(gunzipSync(gzipSync(text)).toString(), text);
  assert.equal(new Intl.NumberFormat('de').format(1234.5), '1.234,5');
});

const program = '/opt/a b/node (deleted)';

test('only what is as in the file is unmapped, and only of the image', () => {
  const smaps = [
    mapping('003f0000-003f1000 r-xp 01627000', program),
    mapping('00400000-00746000 r--p 00000000', program),
    mapping('0074a000-03044000 r-xp 0034a000', program),
    mapping('03044000-03050000 r--p 02c44000', program, { anonymousKb: 12 }),
    mapping('03050000-03060000 r--p 02c50000', program, { swapKb: 4 }),
    `03060000-03062000 r--p 02c60000 fe:00 17    ${program}\nRss: 4 kB`,
    mapping('03062000-03064000 r--p 02c62000', program),
    mapping('03064000-03070000 rw-p 02c64000', program),
    mapping('7f0000000000-7f0000100000 r-xp 00000000', '/usr/lib/libc.so.6'),
    mapping('7f0000100000-7f0000200000 r-xp 00000000', ''),
    mapping('7f0000200000-7f0000400000 r-xp 01627000', program),
  ].join('\n');
  assert.deepEqual(unchangedParts(smaps, program), [
    { start: 0x400000n, end: 0x746000n },
    { start: 0x74a000n, end: 0x3044000n },
    { start: 0x3062000n, end: 0x3064000n },
  ]);
});

test('V8 maps its builtins again for each thread: those are left alone', async (t) => {
  const worker = new Worker('setInterval(() => 0, 1000)', { eval: true });
  t.after(async () => await worker.terminate());
  await new Promise((resolve) => worker.once('online', resolve));
  const smaps = readFileSync('/proc/self/smaps', 'utf8');
  const parts = unchangedParts(smaps, process.execPath);
  assert.ok(parts.length > 0);
  const ofProgram = smaps.split('\n').filter((line) => line.endsWith(` ${process.execPath}`));
  const data = ofProgram.findIndex((line) => line.includes(' rw-p '));
  const end = BigInt(`0x${ofProgram[data]?.split('-')[0] ?? ''}`);
  assert.ok(ofProgram.length > data + 1, 'nothing of the program is mapped elsewhere');
  assert.deepEqual(
    parts.filter((part) => part.end > end),
    [],
  );
});

test('without a beginning or an end of the image nothing is unmapped', () => {
  const text = mapping('0074a000-03044000 r-xp 0034a000', program);
  assert.deepEqual(unchangedParts(text, program), []);
  assert.deepEqual(unchangedParts(text.replace('0034a000', '00000000'), program), []);
});

function mapping(place: string, path: string, { anonymousKb = 0, swapKb = 0 } = {}): string {
  return [
    `${place} fe:00 17    ${path}`,
    `Anonymous:      ${String(anonymousKb).padStart(8)} kB`,
    `Swap:           ${String(swapKb).padStart(8)} kB`,
    'VmFlags: rd ex mr mw me sd',
  ].join('\n');
}

/** Of the program's file. */
function residentKb(): number {
  return readFileSync('/proc/self/smaps', 'utf8')
    .split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
    .filter((text) => text.split('\n')[0]?.endsWith(process.execPath))
    .reduce((sum, text) => sum + Number(/^Rss: +(\d+) kB$/m.exec(text)?.[1]), 0);
}
