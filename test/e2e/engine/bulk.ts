/** Bytes in bulk that can be told apart from any others. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';

const mebibyte = 1024 * 1024;

/** Random bytes: none of it can be compressed, repeated or swapped without being noticed. */
export function randomBulk(mebibytes: number): Buffer {
  return Buffer.concat(Array.from({ length: mebibytes }, () => randomBytes(mebibyte)));
}

/** Asserts that both are the same bytes; says lengths and hashes, not the bytes. */
export function assertSameBytes(actual: Buffer, expected: Buffer): void {
  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  assert.deepEqual(
    { bytes: actual.length, sha256: digest(actual) },
    { bytes: expected.length, sha256: digest(expected) },
  );
}

/** Sends it all to a TCP port that echoes, half-closes, and gives what came back. */
export async function echoOver(port: number, bytes: Buffer): Promise<Buffer> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  socket.end(bytes);
  return await buffer(socket);
}
