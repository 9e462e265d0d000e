import assert from 'node:assert/strict';
import { createServer, connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { duplexPair } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createDeflate, constants, createInflate } from 'node:zlib';
import { headerDictionary } from './dictionary.ts';
import {
  decodeFrame,
  encodeDataHead,
  encodeGoaway,
  encodePing,
  encodeRstStream,
  encodeSynReply,
  frameHeaderBytes,
  payloadBytes,
} from './frames.ts';
import { HeaderDecoder, HeaderEncoder, type Headers } from './header-block.ts';
import { SpdySession, type SpdyStream } from './session.ts';

/** Compresses as Go's clients do: one zlib stream with the dictionary, flushed after each block. */
class ClientHeaders {
  readonly #deflate = createDeflate({ dictionary: headerDictionary, level: 9 });
  #chunks: Buffer[] = [];

  constructor() {
    this.#deflate.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
  }

  async encode(headers: Record<string, string>): Promise<Buffer> {
    const word = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes;
    };
    const parts = Object.entries(headers).flatMap(([name, value]) => [
      word(name.length),
      Buffer.from(name),
      word(value.length),
      Buffer.from(value),
    ]);
    this.#deflate.write(Buffer.concat([word(Object.keys(headers).length), ...parts]));
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    const block = Buffer.concat(this.#chunks);
    this.#chunks = [];
    return block;
  }
}

function synStream(streamId: number, block: Buffer): Buffer {
  const payload = Buffer.alloc(10);
  payload.writeUInt32BE(streamId);
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8003, 0);
  head.writeUInt16BE(1, 2);
  head.writeUInt32BE(10 + block.length, 4);
  return Buffer.concat([head, payload, block]);
}

async function pair(t: TestContext): Promise<{ client: Socket; session: SpdySession; opened: SpdyStream[] }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const client = connect(address.port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  const session = new SpdySession(socket);
  const opened: SpdyStream[] = [];
  session.streams.subscribe((stream) => void opened.push(stream));
  t.after(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return { client, session, opened };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

test('frames: what is encoded is decoded', () => {
  const decode = (frame: Buffer) =>
    decodeFrame(frame.subarray(0, frameHeaderBytes), frame.subarray(frameHeaderBytes));
  assert.deepEqual(decode(Buffer.concat([encodeDataHead(5, 3, true), Buffer.from('abc')])), {
    type: 'data',
    streamId: 5,
    isLast: true,
    data: Buffer.from('abc'),
  });
  assert.deepEqual(decode(encodeRstStream(7, 5)), { type: 'rst-stream', streamId: 7, status: 5 });
  assert.deepEqual(decode(encodePing(9)), { type: 'ping', id: 9 });
  assert.deepEqual(decode(encodeGoaway(3)), { type: 'goaway' });
  assert.equal(decode(encodeSynReply(1, Buffer.from('x'))).type, 'syn-reply');
  assert.equal(payloadBytes(encodeDataHead(5, 70_000, false)), 70_000);
  assert.throws(() => decode(Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0])), /SPDY\/3/);
  assert.throws(() => decode(Buffer.from([0x80, 3, 0, 3, 0, 0, 0, 0])), /cut short/);
});

test('header blocks: stored blocks are read by an ordinary inflate with and without the dictionary', async () => {
  const encoder = new HeaderEncoder();
  const headers: Headers = new Map([
    ['streamtype', ['error']],
    ['port', ['80', '81']],
  ]);
  const inflate = createInflate();
  const chunks: Buffer[] = [];
  inflate.on('data', (chunk: Buffer) => chunks.push(chunk));
  for (const block of [encoder.encode(headers), encoder.encode(headers)])
    await new Promise<void>((resolve) => inflate.write(block, () => resolve()));
  const plain = Buffer.concat(chunks);
  assert.equal(plain.subarray(0, plain.length / 2).equals(plain.subarray(plain.length / 2)), true);
  using decoder = new HeaderDecoder();
  const client = new ClientHeaders();
  assert.deepEqual(
    [...(await decoder.decode(await client.encode({ streamType: 'stdin', port: '8080' })))],
    [
      ['streamtype', ['stdin']],
      ['port', ['8080']],
    ],
  );
  assert.deepEqual(
    [...(await decoder.decode(await client.encode({ streamType: 'stdin' })))],
    [['streamtype', ['stdin']]],
  );
});

test('header blocks: a bomb and garbage are refused', async () => {
  using bombed = new HeaderDecoder();
  await assert.rejects(
    bombed.decode(await new ClientHeaders().encode({ big: 'x'.repeat(1_000_000) })),
    /cannot be read/,
  );
  using garbled = new HeaderDecoder();
  await assert.rejects(garbled.decode(Buffer.from('this is not zlib')), /cannot be read/);
});

test('a stream carries data both ways, with half-close', async (t) => {
  const { client, opened } = await pair(t);
  client.write(synStream(1, await new ClientHeaders().encode({ streamtype: 'stdin' })));
  await until(() => opened.length === 1);
  const [stream] = opened;
  assert.ok(stream !== undefined);
  client.write(
    Buffer.concat([encodeDataHead(1, 5, false), Buffer.from('hello'), encodeDataHead(1, 0, true)]),
  );
  const received = Buffer.concat(await stream.toArray());
  assert.equal(received.toString(), 'hello');
  stream.end('world');
  const seen: Buffer[] = [];
  client.on('data', (chunk) => seen.push(chunk));
  await until(() => Buffer.concat(seen).includes('world'));
});

test('a slow reader holds the connection back, and everything arrives', async (t) => {
  const { client, opened } = await pair(t);
  client.write(synStream(1, await new ClientHeaders().encode({ streamtype: 'stdin' })));
  const chunk = Buffer.alloc(32 * 1024, 'x');
  const frames = 400;
  let isHeldBack = false;
  for (let index = 0; index < frames; index += 1)
    isHeldBack = !client.write(Buffer.concat([encodeDataHead(1, chunk.length, false), chunk])) || isHeldBack;
  client.write(encodeDataHead(1, 0, true));
  await until(() => opened.length === 1);
  assert.equal(isHeldBack, true);
  let bytes = 0;
  for await (const piece of opened[0] as AsyncIterable<Buffer>) {
    bytes += piece.length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(bytes, frames * chunk.length);
});

test('a reset ends one stream, a protocol error the connection', async (t) => {
  const { client, session, opened } = await pair(t);
  const headers = new ClientHeaders();
  client.write(synStream(1, await headers.encode({ streamtype: 'data' })));
  client.write(synStream(3, await headers.encode({ streamtype: 'error' })));
  await until(() => opened.length === 2);
  client.write(encodeRstStream(1, 5));
  await until(() => opened[0]?.destroyed === true);
  assert.equal(opened[1]?.destroyed, false);
  client.write(Buffer.from([0x80, 99, 0, 1, 0, 0, 0, 0]));
  await session.closed;
  assert.equal(opened[1]?.destroyed, true);
});

test('a stream under a number that was used is a protocol error: the first one must not lose its end', async (t) => {
  const { client, session, opened } = await pair(t);
  const headers = new ClientHeaders();
  client.write(synStream(3, await headers.encode({ streamtype: 'data' })));
  client.write(synStream(3, await headers.encode({ streamtype: 'data' })));
  await session.closed;
  assert.deepEqual(
    opened.map((stream) => stream.destroyed),
    [true],
  );
});

test('a client that asks and does not read the answers is read no further', async () => {
  const [client, socket] = duplexPair();
  const session = new SpdySession(socket);
  const pings = Buffer.concat(Array.from({ length: 60_000 }, () => encodePing(1)));
  client.write(pings);
  let unread = -1;
  while (socket.writableLength > unread || unread <= 0) {
    unread = socket.writableLength;
    await turn();
  }
  assert.ok(unread < pings.length / 2, `${unread} bytes of answers are kept`);
  let answered = 0;
  client.on('data', (chunk: Buffer) => (answered += chunk.length));
  await until(() => answered === pings.length);
  socket.destroy();
  await session.closed;
});

test('closing lets everything written arrive although the client still sends', async (t) => {
  const { client, session, opened } = await pair(t);
  client.write(synStream(1, await new ClientHeaders().encode({ streamtype: 'stdout' })));
  await until(() => opened.length === 1);
  const payload = Buffer.alloc(4 * 1024 * 1024, 'y');
  opened[0]?.end(payload);
  const noise = setInterval(
    () => client.writable && client.write(Buffer.concat([encodeDataHead(1, 3, false), Buffer.from('abc')])),
    1,
  );
  t.after(() => clearInterval(noise));
  const closing = session.close();
  let bytes = 0;
  for await (const chunk of client as AsyncIterable<Buffer>) bytes += chunk.length;
  clearInterval(noise);
  assert.ok(bytes > payload.length, `${bytes} bytes arrived`);
  client.destroy();
  await closing;
});
