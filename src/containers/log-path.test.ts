import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { runCommand } from '../linux/command.ts';
import { joinLogPath, makeLogPlace } from './log-path.ts';

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-log-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('log path escape: a path that climbs out of the pod’s log directory is refused', () => {
  for (const logPath of ['../other/0.log', 'a/../../b', '..', '.', 'a/..', 'a/', '/../../etc/cron.d/x'])
    assert.throws(() => joinLogPath({ logDirectory: '/var/log/pods/p', logPath }), {
      kind: 'invalid-argument',
      message: /log_path/,
    });
  assert.equal(
    joinLogPath({ logDirectory: '/var/log/pods/p/', logPath: 'c/0.log' }),
    '/var/log/pods/p/c/0.log',
  );
});

test('log path escape: a symlink, FIFO or device below the pod’s log directory is refused', async (t) => {
  const directory = scratch(t);
  const outside = join(directory, 'outside');
  const logDirectory = join(directory, 'pod');
  mkdirSync(outside);
  mkdirSync(logDirectory);
  writeFileSync(join(outside, 'target'), '');
  symlinkSync(outside, join(logDirectory, 'directory'));
  mkdirSync(join(logDirectory, 'c'));
  symlinkSync(join(outside, 'target'), join(logDirectory, 'c/0.log'));
  symlinkSync(join(outside, 'target'), join(logDirectory, 'c/1.log.tmp'));
  symlinkSync(join(outside, 'not-yet'), join(logDirectory, 'c/2.log'));
  await runCommand(['mkfifo', join(logDirectory, 'c/3.log')], { check: true });
  mkdirSync(join(logDirectory, 'c/4.log'));
  for (const logPath of ['directory/0.log', 'c/0.log', 'c/1.log', 'c/2.log', 'c/3.log', 'c/4.log'])
    assert.throws(
      () => makeLogPlace({ logDirectory, logPath }),
      { kind: 'failed-precondition', message: /log path/ },
      logPath,
    );
  assert.deepEqual(readdirSync(outside), ['target']);
});

test('the directories of a log are made, also below a link of the administrator', (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, 'data'));
  symlinkSync(join(directory, 'data'), join(directory, 'log'));
  const place = { logDirectory: join(directory, 'log/pod'), logPath: 'c/0.log' };
  makeLogPlace(place);
  assert.equal(statSync(join(directory, 'data/pod/c')).mode & 0o7777, 0o755);
  writeFileSync(join(directory, 'data/pod/c/0.log'), 'kept');
  makeLogPlace(place);
});
