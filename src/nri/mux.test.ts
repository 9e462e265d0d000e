import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Demux, muxPieces, pluginServiceId, runtimeServiceId } from './mux.ts';

test('a message is led by the number of its connection and its length', () => {
  const pieces = Buffer.concat(muxPieces(2, Buffer.from('hi')));
  assert.equal(pieces.toString('hex'), '00000002' + '00000002' + '6869');
});

test('a long message goes in two pieces: what fits the first buffer of the other side, and all the rest', () => {
  const lengths = (bytes: number): number[] =>
    muxPieces(1, Buffer.alloc(bytes))
      .filter((_, index) => index % 2 === 1)
      .map(({ length }) => length);
  assert.deepEqual(lengths(4096), [4096]);
  assert.deepEqual(lengths(4097), [4096, 1]);
  assert.deepEqual(lengths(3_000_000), [4096, 2_995_904]);
});

test('two connections share a socket without mixing, however it cuts what they say', () => {
  const messages = [10, 5000, 0, 70_000, 1].map((bytes) => randomBytes(bytes));
  const both = messages.flatMap((message, index) =>
    muxPieces(index % 2 === 0 ? pluginServiceId : runtimeServiceId, message),
  );
  const wire = Buffer.concat(both);
  const seen = { [pluginServiceId]: [] as Buffer[], [runtimeServiceId]: [] as Buffer[] };
  const demux = new Demux(
    new Map([
      [pluginServiceId, (bytes: Buffer) => void seen[pluginServiceId].push(bytes)],
      [runtimeServiceId, (bytes: Buffer) => void seen[runtimeServiceId].push(bytes)],
    ]),
  );
  for (let at = 0; at < wire.length; at += 999) demux.push(wire.subarray(at, at + 999));
  const expected = (parity: number): Buffer =>
    Buffer.concat(messages.filter((_, index) => index % 2 === parity));
  assert.deepEqual(Buffer.concat(seen[pluginServiceId]), expected(0));
  assert.deepEqual(Buffer.concat(seen[runtimeServiceId]), expected(1));
});

test('a piece for no connection is passed over, one that is too long is refused', () => {
  const demux = new Demux(new Map());
  demux.push(Buffer.concat(muxPieces(7, Buffer.from('nobody'))));
  const header = Buffer.alloc(8);
  header.writeUInt32BE(1, 0);
  header.writeUInt32BE(0xffff_ffff, 4);
  assert.throws(() => demux.push(header), /limit/);
});
