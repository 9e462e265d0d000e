import assert from 'node:assert/strict';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, test } from 'node:test';
import { mount, mountTmpfs, unmount } from './mount.ts';
import { readMounts } from './mountinfo.ts';
import { PathWorkers } from './path-worker.ts';
import { enterPrivateMounts } from './private-mounts.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-path-')));
mountTmpfs({ target: base });
let workers = new PathWorkers();
const timeoutMs = 20_000;
after(async () => {
  await workers[Symbol.asyncDispose]();
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

test('what the operations answer, and what is not there', async () => {
  const path = join(base, 'a/b/c');
  assert.equal(await workers.call('mkdirp', { path, mode: 0o700 }, timeoutMs), join(base, 'a'));
  assert.equal(await workers.call('mkdirp', { path, mode: 0o700 }, timeoutMs), undefined);
  writeFileSync(join(path, 'file'), 'text');
  symlinkSync('file', join(path, 'link'));
  assert.equal((await workers.call('stat', { path: join(path, 'link') }, timeoutMs))?.kind, 'file');
  assert.equal((await workers.call('stat', { path: join(path, 'link') }, timeoutMs))?.sizeBytes, 4);
  assert.equal((await workers.call('lstat', { path: join(path, 'link') }, timeoutMs))?.kind, 'symlink');
  assert.equal((await workers.call('stat', { path: '/dev/null' }, timeoutMs))?.kind, 'char-device');
  assert.equal(await workers.call('realpath', { path: join(path, 'link') }, timeoutMs), join(path, 'file'));
  assert.deepEqual((await workers.call('readdir', { path }, timeoutMs))?.toSorted(), ['file', 'link']);
  const fd = await workers.call('open', { path: join(path, 'link'), flags: constants.O_RDONLY }, timeoutMs);
  assert.ok(fd !== undefined);
  await workers[Symbol.asyncDispose]();
  assert.equal(readFileSync(fd, 'utf8'), 'text');
  closeSync(fd);
  workers = new PathWorkers();
  const absent = join(base, 'absent');
  for (const operation of ['stat', 'lstat', 'realpath', 'readdir'] as const) {
    assert.equal(await workers.call(operation, { path: absent }, timeoutMs), undefined);
  }
  assert.equal(await workers.call('open', { path: absent, flags: constants.O_RDONLY }, timeoutMs), undefined);
  await assert.rejects(workers.call('readdir', { path: join(path, 'file') }, timeoutMs), {
    name: 'SyscallError',
    code: 'ENOTDIR',
    path: join(path, 'file'),
  });
});

test('a bind mount finds its target inside the given root only', async () => {
  const source = join(base, 'source');
  const targetRoot = join(base, 'rootfs');
  mkdirSync(source);
  mkdirSync(join(targetRoot, 'data'), { recursive: true });
  mkdirSync(join(base, 'outside'));
  writeFileSync(join(source, 'mark'), 'm');
  symlinkSync('/data', join(targetRoot, 'volume'));
  symlinkSync(join(base, 'outside'), join(targetRoot, 'escape'));
  await workers.call(
    'bind-mount',
    { path: source, targetRoot, target: 'volume', options: { readOnly: true } },
    timeoutMs,
  );
  assert.equal(readFileSync(join(targetRoot, 'data/mark'), 'utf8'), 'm');
  assert.throws(() => writeFileSync(join(targetRoot, 'data/mark'), 'n'), { code: 'EROFS' });
  await assert.rejects(
    workers.call('bind-mount', { path: source, targetRoot, target: 'escape' }, timeoutMs),
    {
      code: 'ENOENT',
    },
  );
  assert.equal(await workers.call('unmount', { path: join(targetRoot, 'data') }, timeoutMs), true);
  assert.equal(await workers.call('unmount', { path: join(targetRoot, 'data') }, timeoutMs), false);
  assert.deepEqual(
    readMounts().filter((info) => info.target.startsWith(join(base, 'outside'))),
    [],
  );
});

test('threads that nobody needs end', async () => {
  await using own = new PathWorkers({ idleMs: 50 });
  const look = async (): Promise<unknown> => await own.call('stat', { path: base }, timeoutMs);
  await Promise.all([look(), look(), look()]);
  assert.ok(own.idleWorkers <= 2);
  while (own.idleWorkers > 0) await sleep(10);
  assert.deepEqual(await look(), await look());
});

test('the time that a thread takes to start is no time of the file system', async (t) => {
  await using own = new PathWorkers();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const call = own.call('stat', { path: base }, timeoutMs);
  // Nothing of a thread arrives between these, however fast it starts.
  for (let step = 0; step < 100; step++) await Promise.resolve();
  t.mock.timers.tick(timeoutMs);
  assert.equal((await call)?.kind, 'directory');
});

test('a thread that does not start is given up, and nobody else waits for it', async (t) => {
  await using own = new PathWorkers({ maxActive: 1, startMs: 30_000 });
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const call = own.call('stat', { path: base }, timeoutMs);
  for (let step = 0; step < 100; step++) await Promise.resolve();
  t.mock.timers.tick(30_000);
  await assert.rejects(call, { kind: 'unavailable', message: /^stat ".*": no thread within 30 s/ });
  assert.deepEqual(own.stuckPaths, []);
  assert.equal((await own.call('stat', { path: base }, timeoutMs))?.kind, 'directory');
});

test('a FUSE file system that never answers costs one thread and one clear error', async () => {
  const hung = join(base, 'hung');
  mkdirSync(hung);
  const fuse = openSync('/dev/fuse', 'r+');
  let isOpen = true;
  const own = new PathWorkers({ maxStuck: 3 });
  try {
    mount({
      source: 'never',
      target: hung,
      fstype: 'fuse',
      data: `fd=${fuse},rootmode=40000,user_id=0,group_id=0`,
    });
    await assert.rejects(own.call('stat', { path: join(hung, 'x') }, 50), {
      kind: 'deadline-exceeded',
      message: /^stat ".*hung\/x": no answer within 50 ms/,
    });
    await assert.rejects(own.call('readdir', { path: join(hung, 'x') }, timeoutMs), {
      kind: 'deadline-exceeded',
      message: /an earlier call on it still hangs/,
    });
    assert.deepEqual(own.stuckPaths, [join(hung, 'x')]);
    assert.equal((await own.call('stat', { path: base }, timeoutMs))?.kind, 'directory', 'other paths go on');
    await assert.rejects(own.call('open', { path: hung, flags: constants.O_RDONLY }, 50), {
      kind: 'deadline-exceeded',
    });
    mkdirSync(join(base, 'late'));
    await assert.rejects(
      own.call('bind-mount', { path: join(hung, 'y'), targetRoot: base, target: 'late' }, 50),
      { kind: 'deadline-exceeded', message: /^bind-mount ".*hung\/y"/ },
    );
    await assert.rejects(own.call('stat', { path: base }, timeoutMs), {
      kind: 'resource-exhausted',
      message: /3 calls hang on paths such as/,
    });
    assert.equal(
      await workers.call('unmount', { path: hung, lazy: true }, timeoutMs),
      true,
      'it can be taken away',
    );
    // The end of the server ends its connection: the threads come back.
    closeSync(fuse);
    isOpen = false;
    while (own.stuckPaths.length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal((await own.call('stat', { path: base }, timeoutMs))?.kind, 'directory');
  } finally {
    if (isOpen) closeSync(fuse);
    await own[Symbol.asyncDispose]();
  }
  await assert.rejects(own.call('stat', { path: base }, timeoutMs), { kind: 'unavailable' });
});
