import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { CommandError, runCommand } from './command.ts';

describe('runCommand', () => {
  test('hands back exit code, output and the end of stderr', async () => {
    const result = await runCommand(['sh', '-c', 'cat; echo problem >&2; exit 3'], { input: 'hello' });
    assert.deepEqual(
      { ...result, stdout: result.stdout.toString() },
      { exitCode: 3, signal: undefined, stdout: 'hello', stderr: 'problem\n' },
    );
  });

  test('a failure becomes an error with all its facts when checked', async () => {
    await assert.rejects(runCommand(['sh', '-c', 'echo no luck >&2; exit 4'], { check: true }), (error) => {
      assert.ok(error instanceof CommandError);
      assert.equal(error.exitCode, 4);
      assert.equal(error.timedOut, false);
      assert.match(error.message, /exit code 4: no luck$/);
      return true;
    });
  });

  test('an end by a signal is told as such', async () => {
    const result = await runCommand(['sh', '-c', 'kill -9 $$']);
    assert.equal(result.signal, 'SIGKILL');
    assert.equal(result.exitCode, undefined);
  });

  test('a missing program is named', async () => {
    await assert.rejects(
      runCommand(['gantry-no-such-program']),
      (error: Error) =>
        isKind(error, 'failed-precondition') && error.message.includes('gantry-no-such-program'),
    );
    await assert.rejects(runCommand(['/etc/passwd']), { kind: 'failed-precondition' });
    await assert.rejects(runCommand(['true'], { cwd: '/no/such/directory' }), /no such directory|ENOENT/);
  });

  test('a deadline ends the program and what it started, although SIGTERM is ignored', async () => {
    const script = 'trap "" TERM; sleep 1000 & echo $!; wait; wait; sleep 1000';
    const failed = await runCommand(['sh', '-c', script], { timeoutMs: 100 }).catch(
      (error: unknown) => error,
    );
    assert.ok(failed instanceof CommandError);
    assert.equal(failed.timedOut, true);
    assert.match(failed.message, /did not end within 100 ms/);
    await hasEnded(Number(failed.stdout.toString()));
  });

  test('an aborted signal ends the program and is the error', async () => {
    const controller = new AbortController();
    const running = runCommand(['sleep', '1000'], { signal: controller.signal });
    controller.abort(new Error('no longer wanted'));
    await assert.rejects(running, /no longer wanted/);
    await assert.rejects(runCommand(['true'], { signal: controller.signal }), /no longer wanted/);
  });

  test('output beyond the limit ends the program', async () => {
    const running = runCommand(['cat', '/dev/zero'], { maxOutputBytes: 100_000 });
    await assert.rejects(running, /wrote more than 100000 bytes/);
  });

  test('a process left behind with the output does not delay the end', async () => {
    const result = await runCommand(['sh', '-c', 'sleep 1000 & echo $!; head -c 300000 /dev/zero']);
    const [left = ''] = result.stdout.toString('latin1').split('\n');
    process.kill(Number(left), 'SIGKILL');
    assert.equal(result.stdout.length, left.length + 1 + 300_000);
  });

  test('nothing of the environment is inherited, no descriptor stays open', async () => {
    await runCommand(['true']);
    const before = readdirSync('/proc/self/fd').length;
    const result = await runCommand(['env'], { env: { A: 'b' } });
    assert.equal(result.stdout.toString(), 'A=b\n');
    assert.equal(readdirSync('/proc/self/fd').length, before);
  });

  test('a program that does not read its input is no error', async () => {
    const result = await runCommand(['true'], { input: Buffer.alloc(1_000_000) });
    assert.equal(result.exitCode, 0);
  });
});

/** Gone, or a zombie that init has yet to collect. A killed process dies when it next runs, not when the signal is sent. */
async function hasEnded(pid: number): Promise<void> {
  assert.ok(pid > 1);
  while (existsSync(`/proc/${pid}/stat`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}
