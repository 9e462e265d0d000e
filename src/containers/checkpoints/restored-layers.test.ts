import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { isKind } from '../../lib/errors.ts';
import { runCommand } from '../../linux/command.ts';
import { restoredLayers } from './restored-layers.ts';

/** The names in the layer that a checkpoint with these deleted files brings; none without a layer. */
async function markersOf(t: TestContext, deleted: unknown, signal = new AbortController().signal) {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-restored-'));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'deleted.files'), JSON.stringify(deleted));
  const added = await restoredLayers(directory, signal);
  assert.ok(!readdirSync(directory).includes('whiteouts'));
  if (added[0] === undefined) return [];
  const { stdout } = await runCommand(['tar', '--list', `--file=${added[0]}`], { check: true });
  return stdout.toString().trim().split('\n');
}

test('what was deleted becomes markers, wherever the names lead', async (t) => {
  assert.deepEqual(await markersOf(t, null), []);
  assert.deepEqual(await markersOf(t, ['/etc/group', '/-x/', '../../up', '/etc/group']), [
    './etc/.wh.group',
    './.wh.-x',
    './.wh.up',
    './etc/.wh.group',
  ]);
});

test('names that are none are refused', async (t) => {
  const long = `/${'n'.repeat(252)}`;
  const wide = `/${'ä'.repeat(126)}`;
  const strange = ['/a\0b', '/\udc2e\udc2e/a', '/\ud800'];
  for (const path of ['/', '/..', ...strange, '/.wh.a', '/.wh.a/b', '/.wh..wh..opq', long, `${long}/b`, wide])
    await assert.rejects(markersOf(t, [path]), (error) => isKind(error, 'invalid-argument'), path);
});

test('a few names that ask for very many directories are refused', async (t) => {
  const deep = Array.from({ length: 100 }, (_, index) => `/${index}${'/a'.repeat(1900)}`);
  await assert.rejects(markersOf(t, deep), (error) => isKind(error, 'invalid-argument'));
  const wide = Array.from({ length: 200 }, (_, index) => `/${index}${'/a'.repeat(100)}`);
  await assert.rejects(markersOf(t, wide), /more than 10000 directories/);
});

test('making markers ends with the request', async (t) => {
  await assert.rejects(markersOf(t, ['/a'], AbortSignal.abort(new Error('the client has gone'))), /has gone/);
});
