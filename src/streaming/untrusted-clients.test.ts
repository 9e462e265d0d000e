/** Clients of the streaming server are not trusted: who has no token gets nothing, who leaves takes everything along. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { duplexPair, PassThrough, type Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { ProcessSession } from '../containers/process-session.ts';
import { createLog } from '../telemetry/log.ts';
import { servePortForward } from './port-forward.ts';
import { serveStreams, type StreamingServer } from './server.ts';
import { SpdySession, SpdyStream } from './spdy/session.ts';

const log = createLog('error');

async function serve(t: TestContext): Promise<StreamingServer> {
  const server = await serveStreams(
    { address: '127.0.0.1', port: 0, tokenTtlMs: 60_000, idleTimeoutMs: 60_000 },
    log,
  );
  t.after(async () => await server[Symbol.asyncDispose]());
  return server;
}

interface FakeExec {
  readonly start: () => Promise<ProcessSession>;
  readonly started: ProcessSession[];
  closed: number;
}

/** A process that never ends by itself. */
function fakeExec(): FakeExec {
  const fake: FakeExec = {
    started: [],
    closed: 0,
    async start() {
      const session: ProcessSession = {
        stdin: new PassThrough(),
        stdout: new PassThrough(),
        resize: () => undefined,
        ended: new Promise(() => undefined),
        close: () => void (fake.closed += 1),
      };
      fake.started.push(session);
      return session;
    },
  };
  return fake;
}

const terminal = { stdin: true, stdout: true, stderr: false, tty: true };

/** The status line of the answer to an upgrade that is refused, or to a plain request. */
async function statusOf(url: string, method: string, headers: readonly string[] = []): Promise<string> {
  const { hostname, port, pathname } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.end([`${method} ${pathname} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n'));
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text.split('\r\n')[0] ?? '';
}

const upgrade = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  `Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}`,
];

test('streaming tokens: a URL is good once, for what it was made for; guesses and plain requests get nothing', async (t) => {
  const server = await serve(t);
  const exec = fakeExec();
  const url = server.urlFor({ kind: 'exec', options: terminal, start: exec.start });
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{32}$/);
  for (const method of ['GET', 'POST']) assert.match(await statusOf(url, method), / 400 /);
  assert.match(await statusOf(url.replace(/[\w-]+$/, 'guess'), 'GET', upgrade), / 404 /);
  assert.equal(exec.started.length, 0, 'a request without an upgrade neither starts nor uses it up');
  const client = new WebSocket(url, 'v5.channel.k8s.io');
  await once(client, 'message');
  assert.match(await statusOf(url, 'GET', upgrade), / 404 /);
  assert.equal(exec.started.length, 1);
  client.terminate();
  const other = server.urlFor({ kind: 'exec', options: terminal, start: exec.start });
  assert.match(await statusOf(other.replace('/exec/', '/port-forward/'), 'GET', upgrade), / 404 /);
  assert.equal(exec.started.length, 1);
});

test('a WebSocket frame that is none ends its connection, whatever it was opened for, and not the daemon', async (t) => {
  const server = await serve(t);
  const exec = fakeExec();
  const connectNever = async (): Promise<Duplex> => await Promise.reject(new Error('no pod'));
  const urls = [
    server.urlFor({ kind: 'port-forward', ports: [], connect: connectNever }),
    server.urlFor({ kind: 'exec', options: terminal, start: exec.start }),
  ];
  for (const url of urls) {
    const { hostname, port, pathname } = new URL(url);
    const socket = connect(Number(port), hostname);
    const request = [`GET ${pathname} HTTP/1.1`, 'Host: x', ...upgrade, '', ''].join('\r\n');
    socket.write(Buffer.concat([Buffer.from(request), Buffer.alloc(16, 0xff)]));
    socket.resume();
    await once(socket, 'close');
  }
});

test('a client whose subprotocols are all unknown starts nothing', async (t) => {
  const server = await serve(t);
  const exec = fakeExec();
  const url = server.urlFor({ kind: 'exec', options: terminal, start: exec.start });
  assert.match(
    await statusOf(url, 'GET', [...upgrade, 'Sec-WebSocket-Protocol: v9.channel.k8s.io']),
    / 403 /,
  );
  assert.equal(exec.started.length, 0);
});

/** Both ends of this process's connections. */
const openSockets = (): number =>
  process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;

const unknownProtocols: readonly (readonly [string, readonly string[]])[] = [
  ['WebSocket', [...upgrade, 'Sec-WebSocket-Protocol: v9.channel.k8s.io']],
  ['SPDY', ['Connection: Upgrade', 'Upgrade: SPDY/3.1', 'X-Stream-Protocol-Version: v9.channel.k8s.io']],
];
for (const [name, headers] of unknownProtocols) {
  /** Gives the client of a refused upgrade when it has its answer. Its own half of the connection stays open. */
  const refusedClient = async (server: StreamingServer, behind: string): Promise<Socket> => {
    const url = server.urlFor({ kind: 'exec', options: terminal, start: fakeExec().start });
    const { hostname, port, pathname } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    socket.on('error', () => undefined);
    socket.write([`GET ${pathname} HTTP/1.1`, 'Host: x', ...headers, '', behind].join('\r\n'));
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 403 /);
    return socket;
  };

  test(`a client of ${name} that is refused and leaves takes its connection along, whatever it has sent`, async (t) => {
    const server = await serve(t);
    for (const behind of ['', 'x', 'x'.repeat(100_000)]) {
      const client = await refusedClient(server, behind);
      client.destroy();
      while (openSockets() > 0) await turn();
    }
  });

  test(`clients of ${name} that are refused and stay are not kept`, async (t) => {
    const server = await serve(t);
    const clients: Socket[] = [];
    while (clients.length < 300) clients.push(await refusedClient(server, ''));
    while (openSockets() > clients.length + 256) await turn();
    for (const client of clients) client.destroy();
  });
}

test('streaming tokens: who shows none keeps no connection open, and holds up nobody who does', async (t) => {
  const server = await serve(t);
  const exec = fakeExec();
  const url = server.urlFor({ kind: 'exec', options: terminal, start: exec.start });
  const { hostname, port } = new URL(url);
  const strangers = Array.from({ length: 300 }, () => connect(Number(port), hostname).resume());
  const ended = strangers.slice(0, 20).map(async (socket) => await once(socket, 'close'));
  await Promise.all(ended);
  const client = new WebSocket(url, 'v5.channel.k8s.io');
  await once(client, 'message');
  client.terminate();
  for (const socket of strangers) socket.destroy();
});

test('CVE-2025-64329, CVE-2022-23471: clients that vanish leave no session and no listener', async (t) => {
  const server = await serve(t);
  const exec = fakeExec();
  const rounds = 40;
  for (let round = 0; round < rounds; round += 1) {
    const client = new WebSocket(
      server.urlFor({ kind: 'attach', options: terminal, start: exec.start }),
      'v5.channel.k8s.io',
    );
    await once(client, 'message');
    client.send(Buffer.concat([Buffer.from([4]), Buffer.from('{"Width":80,"Height":24}')]));
    client.terminate();
  }
  while (exec.closed < rounds) await turn();
  assert.equal(exec.closed, rounds);
  for (const { stdout } of exec.started) stdout?.destroy();
});

/** Both streams of one forwarded connection, as a client opens them. */
function openConnection(
  session: SpdySession,
  port: number,
  firstId = 1,
): { errors: SpdyStream; data: SpdyStream } {
  const open = (id: number, streamtype: string): SpdyStream => {
    const headers = new Map([
      ['streamtype', [streamtype]],
      ['requestid', [String(firstId)]],
      ['port', [String(port)]],
    ]);
    const stream = new SpdyStream(session, id, headers);
    stream.on('error', () => undefined);
    session.streams.emit(stream);
    return stream;
  };
  return { errors: open(firstId, 'error'), data: open(firstId + 2, 'data') };
}

function portForward(): { session: SpdySession; connecting: PromiseWithResolvers<Duplex>; client: Duplex } {
  const [client, socket] = duplexPair();
  client.resume();
  const session = new SpdySession(socket);
  const connecting = Promise.withResolvers<Duplex>();
  void servePortForward(session, async () => await connecting.promise);
  return { session, connecting, client };
}

test('port-forward leak: a client that leaves while the pod is connected to leaves no connection', async () => {
  const { session, connecting, client } = portForward();
  const { errors, data } = openConnection(session, 80);
  for (const stream of [errors, data]) stream.acceptReset();
  await turn();
  await turn();
  assert.ok(data.closed);
  client.destroy();
  const [pod, ours] = duplexPair();
  connecting.resolve(ours);
  await once(ours, 'close');
  pod.destroy();
});

test('port-forward resets (kubernetes#74551, containerd#9875): a connection that the pod resets ends its stream, not the session', async () => {
  const { session, connecting, client } = portForward();
  const { data } = openConnection(session, 80);
  const [pod, ours] = duplexPair();
  connecting.resolve(ours);
  await turn();
  ours.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
  await once(data, 'close');
  assert.ok(!client.destroyed);
  pod.destroy();
  client.destroy();
});

test('port-forward stuck (containerd#8849, rke2#10466): a port that does not answer holds no other connection up', async () => {
  const [client, socket] = duplexPair();
  client.resume();
  const session = new SpdySession(socket);
  const [pod, ours] = duplexPair();
  const never = new Promise<Duplex>(() => undefined);
  void servePortForward(session, async (port) => (port === 1 ? await never : ours));
  openConnection(session, 1);
  const { data } = openConnection(session, 2, 5);
  data.push('asked');
  const [asked] = (await once(pod, 'data')) as [Buffer];
  assert.equal(String(asked), 'asked');
  pod.destroy();
  client.destroy();
});

test('port-forward leak: a client that had said its last and leaves before the answer ends leaves no connection', async () => {
  const { session, connecting, client } = portForward();
  const { data } = openConnection(session, 80);
  const [pod, ours] = duplexPair();
  connecting.resolve(ours);
  await turn();
  data.push('asked');
  data.push(null);
  const [asked] = (await once(pod, 'data')) as [Buffer];
  assert.equal(String(asked), 'asked');
  pod.write('an answer without an end');
  if (!data.readableEnded) await once(data, 'end');
  data.destroy();
  await once(ours, 'close');
  client.destroy();
});
