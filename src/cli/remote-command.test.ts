import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { WebSocketServer, type WebSocket } from 'ws';
import { overlap } from './foreground.ts';
import { exitCodeOf, runRemoteCommand } from './remote-command.ts';

const success = '{"metadata":{},"status":"Success"}';
const failure = (code: number): string =>
  JSON.stringify({
    status: 'Failure',
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  });

function message(channel: number, text: string): Buffer {
  return Buffer.concat([Buffer.from([channel]), Buffer.from(text)]);
}

async function serve(t: TestContext, onSocket: (socket: WebSocket) => void): Promise<string> {
  const server = new WebSocketServer({
    port: 0,
    host: '127.0.0.1',
    handleProtocols: () => 'v5.channel.k8s.io',
  });
  await new Promise((resolve) => server.once('listening', resolve));
  server.on('connection', onSocket);
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/exec/token`;
}

function collector(): { readonly sink: (data: Buffer) => Promise<void>; text(): string } {
  const pieces: Buffer[] = [];
  return {
    sink: async (data) => void pieces.push(Buffer.from(data)),
    text: () => Buffer.concat(pieces).toString(),
  };
}

test('input, its end, both outputs and the exit code', async (t) => {
  const url = await serve(t, (socket) => {
    let input = '';
    socket.on('message', (data: Buffer) => {
      if (data[0] === 0) input += data.toString('utf8', 1);
      if (data[0] !== 255) return;
      assert.equal(data[1], 0);
      socket.send(message(1, `got ${input}`));
      socket.send(message(2, 'grumble'));
      socket.send(message(3, failure(7)));
      socket.close(1000);
    });
  });
  const stdout = collector();
  const stderr = collector();
  const exitCode = await runRemoteCommand({
    url,
    stdin: Readable.from([Buffer.from('one '), Buffer.from('two')]),
    stdout: stdout.sink,
    stderr: stderr.sink,
  });
  assert.equal(exitCode, 7);
  assert.equal(stdout.text(), 'got one two');
  assert.equal(stderr.text(), 'grumble');
});

test('sizes of the terminal are passed on', async (t) => {
  const url = await serve(t, (socket) => {
    socket.on('message', (data: Buffer) => {
      assert.equal(data.toString('utf8', 1), '{"Width":80,"Height":24}');
      assert.equal(data[0], 4);
      socket.send(message(3, success));
      socket.close(1000);
    });
  });
  let watching = true;
  const exitCode = await runRemoteCommand({
    url,
    stdout: async () => undefined,
    stderr: async () => undefined,
    watchSize: (listener) => {
      listener({ columns: 80, rows: 24 });
      return { [Symbol.dispose]: () => void (watching = false) };
    },
  });
  assert.equal(exitCode, 0);
  assert.equal(watching, false);
});

test('a slow output holds the connection back and loses nothing', async (t) => {
  const url = await serve(t, (socket) => {
    for (let index = 0; index < 200; index += 1) socket.send(message(1, 'x'.repeat(1000)));
    socket.send(message(3, success));
    socket.close(1000);
  });
  let bytes = 0;
  await runRemoteCommand({
    url,
    stdout: async (data) => {
      await new Promise((resolve) => setImmediate(resolve));
      bytes += data.length;
    },
    stderr: async () => undefined,
  });
  assert.equal(bytes, 200_000);
});

test('a connection that breaks before the end is an error', async (t) => {
  const quiet = { stdout: async () => undefined, stderr: async () => undefined };
  const url = await serve(t, (socket) => socket.terminate());
  await assert.rejects(runRemoteCommand({ url, ...quiet }), { kind: 'unavailable' });
  await assert.rejects(runRemoteCommand({ url: 'http://127.0.0.1:1/x', ...quiet }), {
    kind: 'unavailable',
    message: /^connect for streaming: .*ECONNREFUSED/,
  });
});

test('a command that could not be run is told in the daemon’s words', () => {
  assert.equal(exitCodeOf(success), 0);
  assert.equal(exitCodeOf(failure(137)), 137);
  assert.throws(
    () => exitCodeOf('{"status":"Failure","message":"no such program","reason":"InternalError"}'),
    {
      message: 'no such program',
    },
  );
  assert.throws(() => exitCodeOf('not JSON'), { message: 'not JSON' });
});

test('what an attachment repeats of the log is found', () => {
  const length = (seen: string, next: string): number => overlap(Buffer.from(seen), Buffer.from(next));
  assert.equal(length('abc', 'cde'), 1);
  assert.equal(length('abc', 'xyz'), 0);
  assert.equal(length('', 'xyz'), 0);
  assert.equal(length('prompt# ', 'prompt# '), 8);
});
