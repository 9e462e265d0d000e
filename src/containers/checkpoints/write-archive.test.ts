import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCommand } from '../../linux/command.ts';
import { mountTmpfs, unmount } from '../../linux/mount.ts';
import { mountOverlay } from '../../linux/overlay.ts';
import { enterPrivateMounts } from '../../linux/private-mounts.ts';
import { restoredLayers } from './restored-layers.ts';
import { writeRootChanges } from './write-archive.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-write-')));
mountTmpfs({ target: base });
after(() => {
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

const limits = { timeoutMs: 60_000, signal: new AbortController().signal };
const at = (part: string): string => join(base, part);
const bytes = (parent: string, name: Buffer): Buffer => Buffer.concat([Buffer.from(`${parent}/`), name]);

async function unpack(tar: string, directory: string): Promise<string[]> {
  mkdirSync(directory);
  await runCommand(['tar', '--extract', `--file=${tar}`, `--directory=${directory}`], { check: true });
  const argv = ['find', directory, '-mindepth', '1', '-printf', String.raw`%P\0`];
  const { stdout } = await runCommand(argv, { check: true });
  return stdout.toString('latin1').split('\0').slice(0, -1).toSorted();
}

test('names of any bytes are the same after a restore, written and deleted ones', async () => {
  for (const part of ['lower/d', 'upper', 'work', 'rootfs', 'out']) mkdirSync(at(part), { recursive: true });
  const latin = Buffer.from('caf\xe9', 'latin1');
  const plain = Buffer.from('ä😀');
  for (const name of [latin, plain, Buffer.from([0xff, 0x0a])])
    writeFileSync(bytes(at('lower/d'), name), 'x');
  mkdirSync(bytes(at('lower'), latin));
  writeFileSync(Buffer.concat([bytes(at('lower'), latin), Buffer.from('/kept')]), 'x');
  writeFileSync(Buffer.concat([bytes(at('lower'), latin), Buffer.from('/gone')]), 'x');
  const directories = { lowerDirs: [at('lower')], upperDir: at('upper'), workDir: at('work') };
  mountOverlay({ ...directories, target: at('rootfs'), options: ['index=off', 'redirect_dir=off'] });
  try {
    for (const name of [latin, plain]) rmSync(bytes(at('rootfs/d'), name));
    rmSync(Buffer.concat([bytes(at('rootfs'), latin), Buffer.from('/gone')]));
    writeFileSync(bytes(at('rootfs'), Buffer.from([0x2d, 0xfe])), 'new');
    await writeRootChanges(
      { rootfs: at('rootfs'), own: [at('upper')], image: [at('lower')] },
      at('out'),
      limits,
    );
  } finally {
    unmount(at('rootfs'));
  }
  const listed = JSON.parse(readFileSync(at('out/deleted.files'), 'utf8')) as string[];
  assert.deepEqual(listed, ['/caf\udce9/gone', '/d/caf\udce9', '/d/ä😀']);
  const [changes = '', whiteouts = ''] = await restoredLayers(at('out'), limits.signal);
  const marked = (name: Buffer): string => `d/.wh.${name.toString('latin1')}`;
  assert.deepEqual(await unpack(whiteouts, at('whiteouts')), [
    'caf\xe9',
    'caf\xe9/.wh.gone',
    'd',
    ...[marked(latin), marked(plain)].toSorted(),
  ]);
  assert.deepEqual(await unpack(changes, at('changes')), ['-\xfe', 'caf\xe9', 'd']);
});

test('a container that has deleted nothing has an empty list', async () => {
  for (const part of ['none/upper', 'none/rootfs', 'none/out']) mkdirSync(at(part), { recursive: true });
  const directories = { rootfs: at('none/rootfs'), own: [at('none/upper')], image: [] };
  await writeRootChanges(directories, at('none/out'), limits);
  assert.equal(readFileSync(at('none/out/deleted.files'), 'utf8'), '[]');
  assert.deepEqual(await unpack(at('none/out/rootfs-diff.tar'), at('none/changes')), []);
});
