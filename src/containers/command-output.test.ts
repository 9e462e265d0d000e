import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { collectOutput, OutputRoom, type OutputClaim } from './command-output.ts';

const mib = 1024 * 1024;

/** What is kept of so many bytes that come in chunks of this size, each byte telling its place. */
async function kept(claim: OutputClaim, bytes: number, chunkBytes = 100_000): Promise<Buffer> {
  const all = patternOf(bytes);
  const chunks = Array.from({ length: Math.ceil(bytes / chunkBytes) }, (_, at) =>
    all.subarray(at * chunkBytes, (at + 1) * chunkBytes),
  );
  return Buffer.concat(await collectOutput(Readable.from(chunks, { objectMode: false }), claim));
}

function patternOf(bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => at % 251));
}

test('an output is whole and in order, in whatever pieces it comes', async () => {
  const room = new OutputRoom();
  for (const [bytes, chunkBytes] of [
    [0, 1],
    [1, 1],
    [70_000, 1],
    [64 * 1024, 64 * 1024],
    [200_000, 65_537],
    [3 * mib, 2 * mib],
  ] as const) {
    using claim = room.claim();
    assert.ok((await kept(claim, bytes, chunkBytes)).equals(patternOf(bytes)), `${bytes} by ${chunkBytes}`);
  }
});

test('CVE-2022-1708, CVE-2022-31030: beyond 16 MiB is dropped', async () => {
  using claim = new OutputRoom().claim();
  assert.ok((await kept(claim, 17 * mib)).equals(patternOf(16 * mib)));
});

test('commands that say much at once share the room, and each keeps its first mebibyte', async () => {
  const room = new OutputRoom(4 * mib);
  {
    using first = room.claim();
    using second = room.claim();
    using third = room.claim();
    assert.equal((await kept(first, 4 * mib)).length, 4 * mib);
    assert.ok((await kept(second, 4 * mib)).equals(patternOf(2 * mib)), 'there is one more');
    assert.ok((await kept(third, 4 * mib)).equals(patternOf(mib)));
    assert.equal((await kept(third, 5000)).length, 5000);
  }
  using next = room.claim();
  assert.equal((await kept(next, 6 * mib)).length, 5 * mib, 'what has ended has given its room back');
});

test('what comes when the command is over takes no room', async () => {
  const room = new OutputRoom(4 * mib);
  const over = room.claim();
  over[Symbol.dispose]();
  assert.equal((await kept(over, 4 * mib)).length, mib);
  over[Symbol.dispose]();
  using next = room.claim();
  assert.equal((await kept(next, 6 * mib)).length, 5 * mib);
});

test('once something was dropped nothing behind it is kept', async () => {
  const room = new OutputRoom(mib);
  const other = room.claim();
  using claim = room.claim();
  assert.ok(other.take(mib));
  const stream = new Readable({ read: () => undefined });
  const collected = collectOutput(stream, claim);
  stream.push(Buffer.alloc(mib + 1, 'a'));
  while (stream.readableLength > 0) await new Promise((resolve) => setImmediate(resolve));
  other[Symbol.dispose]();
  stream.push(Buffer.alloc(1000, 'b'));
  stream.push(null);
  assert.ok(Buffer.concat(await collected).equals(Buffer.alloc(mib, 'a')));
});
