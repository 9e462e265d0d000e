import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Request } from '../../gen/ttrpc/ttrpc.ts';
import { EngineError, isKind } from '../../lib/errors.ts';
import { Assembler } from './assembler.ts';
import { TtrpcClient, type TtrpcCall } from './client.ts';
import { encodeFrame, frameOf, frameShape, maxDataBytes, requestType, responseType } from './frame.ts';
import { TtrpcServer, type TtrpcMethod } from './server.ts';
import { RemoteError, statusCode } from './status.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const bytes = (from: string): Uint8Array => Buffer.from(from);

/** A client and a server that talk to each other, in pieces of `pieceBytes`. */
function pair(methods: Readonly<Record<string, TtrpcMethod>>, pieceBytes = 7) {
  const inPieces = (message: Buffer, receive: (piece: Buffer) => void): void => {
    for (let at = 0; at < message.length; at += pieceBytes) receive(message.subarray(at, at + pieceBytes));
  };
  const server: TtrpcServer = new TtrpcServer(
    (message) => inPieces(message, (piece) => client.receive(piece)),
    new Map(Object.entries(methods)),
  );
  const client: TtrpcClient = new TtrpcClient((message) =>
    inPieces(message, (piece) => server.receive(piece)),
  );
  return { client, server };
}

const call = (method: string, payload = '', timeoutMs = 5000): TtrpcCall => ({
  service: 'test.Service',
  method,
  payload: bytes(payload),
  timeoutMs,
});

test('a frame is what the protocol says: length, stream, type, flags, data', () => {
  const frame = encodeFrame({ stream: 3, type: requestType, flags: 0, data: bytes('ab') });
  assert.equal(frame.toString('hex'), '0000000200000003' + '0100' + '6162');
  const [message] = new Assembler(frameShape).push(frame);
  assert.ok(message);
  const { data, ...rest } = frameOf(message);
  assert.deepEqual(rest, { stream: 3, type: 1, flags: 0 });
  assert.equal(text(data), 'ab');
});

test('messages are told apart however the stream is cut', () => {
  const frames = ['first', '', 'third'].map((data, index) =>
    encodeFrame({ stream: index * 2 + 1, type: requestType, flags: 0, data: bytes(data) }),
  );
  const all = Buffer.concat(frames);
  for (const size of [1, 3, 10, 11, all.length]) {
    const assembler = new Assembler(frameShape);
    const seen: string[] = [];
    for (let at = 0; at < all.length; at += size)
      seen.push(...assembler.push(all.subarray(at, at + size)).map(({ payload }) => payload.toString()));
    assert.deepEqual(seen, ['first', '', 'third'], `pieces of ${size} bytes`);
  }
});

test('a message above 4 MiB is refused by its header alone, and is not sent', () => {
  const header = Buffer.alloc(10);
  header.writeUInt32BE(maxDataBytes + 1, 0);
  assert.throws(
    () => new Assembler(frameShape).push(header),
    (error) => isKind(error, 'invalid-argument'),
  );
  const data = new Uint8Array(maxDataBytes + 1);
  assert.throws(
    () => encodeFrame({ stream: 1, type: requestType, flags: 0, data }),
    (error) => isKind(error, 'resource-exhausted'),
  );
});

test('calls are answered each by its own answer, in whatever order those come', async () => {
  const release = Promise.withResolvers<void>();
  const { client } = pair({
    'test.Service/Slow': async (payload) => {
      await release.promise;
      return bytes(`slow ${text(payload)}`);
    },
    'test.Service/Fast': async (payload) => bytes(`fast ${text(payload)}`),
  });
  const slow = client.call(call('Slow', 'a'));
  assert.equal(text(await client.call(call('Fast', 'b'))), 'fast b');
  release.resolve();
  assert.equal(text(await slow), 'slow a');
});

test('what a method throws comes back as its words and a code', async () => {
  const { client } = pair({
    'test.Service/Fails': async () =>
      await Promise.reject(new EngineError('invalid-argument', 'no such thing')),
  });
  const failsWith = async (method: string, code: number, message: RegExp): Promise<void> =>
    await assert.rejects(
      client.call(call(method)),
      (error) => error instanceof RemoteError && error.code === code && message.test(error.message),
    );
  await failsWith('Fails', statusCode.invalidArgument, /^no such thing$/);
  await failsWith('Missing', statusCode.unimplemented, /test\.Service\/Missing/);
});

test('a call that is not answered fails at its deadline, and its late answer harms nobody', async () => {
  const late = Promise.withResolvers<Uint8Array>();
  const { client } = pair({
    'test.Service/Late': async () => await late.promise,
    'test.Service/Next': async () => bytes('next'),
  });
  await assert.rejects(client.call(call('Late', '', 20)), (error) => isKind(error, 'deadline-exceeded'));
  late.resolve(bytes('late'));
  assert.equal(text(await client.call(call('Next'))), 'next');
});

test('the deadline is told to the other side', async () => {
  let seen = 0n;
  const client = new TtrpcClient((message) => {
    seen = Request.decode(message.subarray(10)).timeoutNano;
  });
  const answer = client.call(call('Any', '', 1500));
  client.close(new Error('over'));
  await assert.rejects(answer, /over/);
  assert.equal(seen, 1_500_000_000n);
});

test('when the connection ends, calls under way and calls to come fail', async () => {
  const { client } = pair({ 'test.Service/Never': async () => await new Promise(() => {}) });
  const answer = client.call(call('Never'));
  client.close(new EngineError('unavailable', 'gone'));
  await assert.rejects(answer, (error) => isKind(error, 'unavailable'));
  await assert.rejects(client.call(call('Never')), (error) => isKind(error, 'unavailable'));
});

test('an answer that cannot be decoded fails its call only', async () => {
  const sent: number[] = [];
  const client: TtrpcClient = new TtrpcClient((message) => void sent.push(message.readUInt32BE(4)));
  const answer = client.call(call('Any'));
  client.receive(
    encodeFrame({ stream: sent[0] ?? 0, type: responseType, flags: 0, data: bytes('\x0a\xff') }),
  );
  await assert.rejects(answer, (error) => isKind(error, 'invalid-argument'));
});

test('what is no call where a call belongs ends the connection', () => {
  const server = new TtrpcServer(() => {}, new Map());
  const data = encodeFrame({ stream: 1, type: 3, flags: 0, data: bytes('') });
  assert.throws(() => server.receive(data), /type 3/);
});

test('one that asks without waiting is refused above sixteen calls, and streams are', async () => {
  const { client } = pair({ 'test.Service/Waits': async () => await new Promise(() => {}) }, 4096);
  const calls = Array.from({ length: 17 }, async () => await client.call(call('Waits')));
  await assert.rejects(
    Promise.race(calls),
    (error) => error instanceof RemoteError && error.code === statusCode.resourceExhausted,
  );
  client.close(new Error('over'));
  await Promise.allSettled(calls);
});
