import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExecSyncResponse } from '../gen/runtime/v1/api.ts';
import { encodeExecSync } from './exec-sync-response.ts';
import { maxMessageBytes } from './pages.ts';

const chunksOf = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text));

test('the answer is what the generated code would write', () => {
  for (const { stdout, stderr, exitCode } of [
    { stdout: chunksOf('he', 'llo', '', '\n'), stderr: chunksOf('x'.repeat(100_000), 'y'), exitCode: 3 },
    { stdout: [], stderr: chunksOf('no\n'), exitCode: 127 },
    { stdout: chunksOf('', 'yes'), stderr: chunksOf(''), exitCode: 0 },
    { stdout: [], stderr: [], exitCode: 0 },
    { stdout: [], stderr: [], exitCode: -1 },
  ]) {
    const whole = { stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr), exitCode };
    assert.deepEqual(
      encodeExecSync({ stdout, stderr, exitCode }),
      Buffer.from(ExecSyncResponse.encode(whole).finish()),
    );
  }
});

test('of what is too long for a message, the longer output is cut', () => {
  const mib = 1024 * 1024;
  const output = (mebibytes: number): Buffer[] =>
    Array.from({ length: mebibytes }, () => Buffer.alloc(mib, 'x'));
  const sizes = (ofStdout: number, ofStderr: number): number[] => {
    const message = encodeExecSync({ stdout: output(ofStdout), stderr: output(ofStderr), exitCode: 255 });
    assert.ok(message.length <= maxMessageBytes);
    const { stdout, stderr, exitCode } = ExecSyncResponse.decode(message);
    assert.equal(exitCode, 255);
    return [stdout.length, stderr.length];
  };
  const room = 16 * mib - 64;
  assert.deepEqual(sizes(16, 0), [room, 0]);
  assert.deepEqual(sizes(16, 16), [room / 2, room / 2]);
  assert.deepEqual(sizes(3, 16), [3 * mib, room - 3 * mib]);
  assert.deepEqual(sizes(7, 8), [7 * mib, 8 * mib]);
});
