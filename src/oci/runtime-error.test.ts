import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runtimeError, runtimeMessage } from './runtime-error.ts';

test('runc logfmt is unquoted and stripped of its prefixes', () => {
  const line =
    'time="2026-11-21T09:15:58Z" level=error msg="runc create failed: unable to start container process: exec: \\"nosuch\\": executable file not found in $PATH"\n';
  assert.equal(runtimeMessage(line), 'exec: "nosuch": executable file not found in $PATH');
});

test('the last error wins over warnings, in JSON logs too', () => {
  const log = [
    '{"msg":"executable file `x` not found in $PATH: No such file or directory","level":"error","time":"t"}',
    '{"msg":"unable to signal init","level":"warning","time":"t"}',
  ].join('\n');
  assert.equal(runtimeMessage(log), 'executable file `x` not found in $PATH: No such file or directory');
});

test('kinds follow what the runtimes say', () => {
  const kindOf = (text: string): string => runtimeError('start', text, '').kind;
  assert.equal(
    kindOf('executable file `x` not found in $PATH: No such file or directory'),
    'failed-precondition',
  );
  assert.equal(kindOf('time="t" level=error msg="container does not exist"'), 'not-found');
  assert.equal(kindOf('error opening file `/run/x/t1/status`: No such file or directory'), 'not-found');
  assert.equal(kindOf("cannot open directory '/run/x/t1': No such file or directory"), 'not-found');
  assert.equal(kindOf('the container `t1` is not in `created` or `stopped` state'), 'failed-precondition');
  assert.equal(kindOf('write: No space left on device'), 'resource-exhausted');
  assert.equal(kindOf('the container `t1` is not running'), 'failed-precondition');
  assert.equal(kindOf('time="t" level=error msg="container not running"'), 'failed-precondition');
  assert.equal(kindOf('container `t1` already exists'), 'already-exists');
  assert.equal(kindOf('exec container process `/x`: Exec format error'), 'failed-precondition');
  assert.equal(kindOf('chdir to `/x` failed: No such file or directory'), 'failed-precondition');
  assert.equal(kindOf('something else'), 'internal');
});

test('what a container calls its files decides no kind', () => {
  const kindOf = (text: string): string => runtimeError('delete', text, '').kind;
  for (const name of [
    'container does not exist',
    'container `t1` already exists',
    'open `/x/status`: No such file or directory',
    'no space left on device',
    'not running',
  ]) {
    assert.equal(kindOf(`rmdir \`/sys/fs/cgroup/pod/${name}\`: Device or resource busy`), 'internal', name);
    assert.equal(kindOf(`executable file \`${name}\` not found in $PATH`), 'failed-precondition', name);
  }
});

test('a silent runtime is described by the fallback, a loud one is cut', () => {
  assert.equal(runtimeError('start x', '\n', 'exit code 1').message, 'start x: exit code 1');
  assert.ok(runtimeError('start x', 'a'.repeat(100_000), '').message.length < 3000);
});
