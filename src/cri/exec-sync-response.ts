/** The answer of ExecSync as bytes: its outputs may fill a message, and each copy of one is a copy of 16 MiB. */
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { ExecSyncResult } from '../containers/exec-sync.ts';
import { ExecSyncResponse } from '../gen/runtime/v1/api.ts';
import { maxMessageBytes } from './pages.ts';

/** What clients take in one message, but for the few bytes around the two outputs. */
const maxOutputBytes = maxMessageBytes - 64;

/** Numbers and kinds of the fields, as they stand before them: 1 and 2, both with a length. */
const tags = { stdout: 10, stderr: 18 };

type Chunks = readonly Buffer[];

/**
 * Encodes what a command said. Each output may be as long as a whole message: the longer one is cut, rather than that the client gets
 * neither them nor the exit code.
 */
export function encodeExecSync({ stdout, stderr, exitCode }: ExecSyncResult): Buffer {
  const [ofStdout, ofStderr] = fittingSizes(sizeOf(stdout), sizeOf(stderr));
  return Buffer.concat([
    ...field(tags.stdout, stdout, ofStdout),
    ...field(tags.stderr, stderr, ofStderr),
    ExecSyncResponse.encode({ stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode }).finish(),
  ]);
}

function fittingSizes(stdout: number, stderr: number): [number, number] {
  if (stdout + stderr <= maxOutputBytes) return [stdout, stderr];
  const shorter = Math.min(stdout, stderr, maxOutputBytes / 2);
  const longer = maxOutputBytes - shorter;
  return stdout >= stderr ? [longer, shorter] : [shorter, longer];
}

function field(tag: number, chunks: Chunks, bytes: number): Uint8Array[] {
  if (bytes === 0) return [];
  const parts: Uint8Array[] = [new BinaryWriter().uint32(tag).uint32(bytes).finish()];
  let left = bytes;
  for (const chunk of chunks) {
    parts.push(chunk.subarray(0, left));
    left -= Math.min(left, chunk.length);
  }
  return parts;
}

function sizeOf(chunks: Chunks): number {
  return chunks.reduce((bytes, chunk) => bytes + chunk.length, 0);
}
