import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { isKind } from '../../lib/errors.ts';
import { runCommand } from '../../linux/command.ts';
import { copyImageFiles } from './copy-image-files.ts';

const never = new AbortController().signal;

interface Place {
  readonly directory: string;
  /** Makes a layer with these files, above those made before. */
  readonly layer: (files: Readonly<Record<string, string | Buffer>>) => string;
  readonly layers: readonly string[];
}

function place(t: TestContext): Place {
  const base = mkdtempSync(join(tmpdir(), 'gantry-image-files-'));
  t.after(() => rmSync(base, { recursive: true }));
  const directory = join(base, 'target');
  mkdirSync(directory);
  const layers: string[] = [];
  const layer = (files: Readonly<Record<string, string | Buffer>>): string => {
    const path = join(base, `layer-${layers.length}`);
    mkdirSync(path);
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(path, name)), { recursive: true });
      writeFileSync(join(path, name), content);
    }
    layers.unshift(path);
    return path;
  };
  return { directory, layer, layers };
}

/** Every file below a directory, with its content. */
function filesIn(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((one) =>
    one.isFile(),
  );
  const paths = files.map((one) => join(one.parentPath, one.name)).toSorted();
  return Object.fromEntries(
    paths.map((path) => [path.slice(directory.length + 1), readFileSync(path, 'utf8')]),
  );
}

test('what a restore needs is taken, of each file the uppermost', async (t) => {
  const { directory, layer, layers } = place(t);
  layer({
    'config.dump': 'old',
    'checkpoint/core-1.img': 'core',
    'rootfs-diff.tar': 'diff',
    'etc/passwd': 'x',
  });
  layer({
    'config.dump': 'new',
    'checkpoint/pages-1.img': 'pages',
    'spec.dump': '{}',
    'checkpoint/sub/a': 'a',
  });
  await copyImageFiles({ layers, directory }, never);
  assert.deepEqual(filesIn(directory), {
    'checkpoint/core-1.img': 'core',
    'checkpoint/pages-1.img': 'pages',
    'config.dump': 'new',
    'rootfs-diff.tar': 'diff',
  });
});

test('an image without a checkpoint in it gives nothing, not even an error', async (t) => {
  const { directory, layer, layers } = place(t);
  layer({ 'etc/passwd': 'x' });
  await copyImageFiles({ layers, directory }, never);
  assert.deepEqual(filesIn(directory), {});
});

test('symlinks, FIFOs and devices in the place of files are as if they were not there', async (t) => {
  const { directory, layer, layers } = place(t);
  layer({ 'deleted.files': 'the lower one' });
  const top = layer({ 'checkpoint/core-1.img': 'core' });
  const secret = join(directory, '..', 'secret');
  writeFileSync(secret, 'of the node');
  symlinkSync(secret, join(top, 'config.dump'));
  symlinkSync('../../secret', join(top, 'checkpoint/pages-1.img'));
  await runCommand(['mkfifo', join(top, 'rootfs-diff.tar')], { check: true });
  await runCommand(['mknod', join(top, 'deleted.files'), 'c', '1', '5'], { check: true });
  await copyImageFiles({ layers, directory }, never);
  assert.deepEqual(filesIn(directory), {
    'checkpoint/core-1.img': 'core',
    'deleted.files': 'the lower one',
  });
});

test('a directory of images that is a symlink leads nowhere', async (t) => {
  const { directory, layer, layers } = place(t);
  const top = layer({ 'config.dump': 'x' });
  symlinkSync('/etc', join(top, 'checkpoint'));
  await copyImageFiles({ layers, directory }, never);
  assert.deepEqual(filesIn(directory), { 'config.dump': 'x' });
});

test('more than it may have in all is refused', async (t) => {
  const { directory, layer, layers } = place(t);
  layer({ 'checkpoint/pages-1.img': 'x'.repeat(600) });
  layer({ 'rootfs-diff.tar': 'x'.repeat(600) });
  const refused = copyImageFiles({ layers, directory, maxBytes: 1000 }, never);
  await assert.rejects(refused, (error) => isKind(error, 'invalid-argument'));
});

test('more files than there may be are refused', async (t) => {
  const { directory, layer, layers } = place(t);
  layer({ 'checkpoint/a': '', 'checkpoint/b': '' });
  layer({ 'checkpoint/c': '', 'config.dump': '{}' });
  await assert.rejects(copyImageFiles({ layers, directory, maxEntries: 3 }, never), {
    kind: 'invalid-argument',
    message: 'it has more than 3 files',
  });
});

test('other work goes on beside a large file, and the end of the request ends the copy', async (t) => {
  const { directory, layer, layers } = place(t);
  const megabytes = 32;
  layer({ 'checkpoint/pages-1.img': Buffer.alloc(megabytes * 1024 ** 2) });
  let turns = 0;
  const gone = new AbortController();
  const turn = (): void => {
    turns += 1;
    if (turns === megabytes / 2) gone.abort(new Error('the client has gone'));
    else immediate = setImmediate(turn);
  };
  let immediate = setImmediate(turn);
  t.after(() => clearImmediate(immediate));
  await assert.rejects(copyImageFiles({ layers, directory }, gone.signal), /the client has gone/);
  assert.equal(turns, megabytes / 2);
});
