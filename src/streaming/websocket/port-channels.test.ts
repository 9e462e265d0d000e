/** Port-forward over WebSocket with channels: what a client in a browser or in Python speaks. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { duplexPair, type Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { createLog } from '../../telemetry/log.ts';
import { serveStreams } from '../server.ts';
import { portsOf } from './port-channels.ts';

interface Fixture {
  /** The pod's side of the connection to that port, once there is one. */
  readonly pod: (port: number) => Promise<Duplex>;
  readonly open: (ports: readonly number[], query?: string, protocols?: readonly string[]) => Promise<Client>;
}

async function fixture(t: TestContext, refused: readonly number[] = []): Promise<Fixture> {
  const server = await serveStreams(
    { address: '127.0.0.1', port: 0, tokenTtlMs: 60_000, idleTimeoutMs: 60_000 },
    createLog('error'),
  );
  t.after(async () => await server[Symbol.asyncDispose]());
  const pods = new Map<number, PromiseWithResolvers<Duplex>>();
  const podOf = (port: number): PromiseWithResolvers<Duplex> => {
    const pod = pods.get(port) ?? Promise.withResolvers<Duplex>();
    pods.set(port, pod);
    return pod;
  };
  const connect = async (port: number): Promise<Duplex> => {
    if (refused.includes(port)) throw new Error('connection refused');
    const [pod, ours] = duplexPair();
    podOf(port).resolve(pod);
    return await Promise.resolve(ours);
  };
  return {
    pod: async (port) => await podOf(port).promise,
    open: async (ports, query = '', protocols = ['v4.channel.k8s.io']) => {
      const url = server.urlFor({ kind: 'port-forward', ports, connect }).replace('http', 'ws');
      const client = new Client(new WebSocket(url + query, [...protocols]));
      t.after(() => client.socket.terminate());
      await once(client.socket, 'open');
      return client;
    },
  };
}

class Client {
  readonly socket: WebSocket;
  readonly #received = new Map<number, Buffer[]>();
  #wake = (): void => undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (message: Buffer, isBinary: boolean) => {
      const number = isBinary ? (message[0] ?? 255) : (message[0] ?? 255) - 48;
      const data = isBinary ? message.subarray(1) : Buffer.from(message.toString('latin1', 1), 'base64');
      this.#received.set(number, [...(this.#received.get(number) ?? []), data]);
      this.#wake();
    });
  }

  send(number: number, data: Buffer | string): void {
    if (this.socket.protocol.includes('base64'))
      this.socket.send(String.fromCharCode(48 + number) + Buffer.from(data).toString('base64'));
    else this.socket.send(Buffer.concat([Buffer.from([number]), Buffer.from(data)]));
  }

  /** Everything of a channel, its first two bytes as the number that they are. */
  of(number: number): { readonly port: number; readonly text: string } {
    const all = Buffer.concat(this.#received.get(number) ?? []);
    return { port: all.length < 2 ? 0 : all.readUInt16LE(), text: all.subarray(2).toString() };
  }

  async until(number: number, text: string): Promise<void> {
    while (this.of(number).port === 0 || !this.of(number).text.includes(text)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }

  async closed(): Promise<number> {
    const [code] = (await once(this.socket, 'close')) as [number];
    return code;
  }
}

for (const protocol of ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io', undefined]) {
  test(
    `two ports, each with its channels, as ${protocol ?? 'no subprotocol'}`,
    { timeout: 20_000 },
    async (t) => {
      const { open, pod } = await fixture(t);
      const client = await open([80, 50_000], '', protocol === undefined ? [] : [protocol]);
      assert.equal(client.socket.protocol, protocol ?? '');
      for (const [number, port] of [80, 80, 50_000, 50_000].entries()) {
        await client.until(number, '');
        assert.deepEqual(client.of(number), { port, text: '' });
      }
      const [one, two] = [await pod(80), await pod(50_000)];
      client.send(0, 'to one');
      client.send(2, 'to two');
      client.send(1, 'nobody hears what comes on an error channel');
      client.send(9, 'nor what comes on none');
      assert.deepEqual(
        [String((await once(one, 'data'))[0]), String((await once(two, 'data'))[0])],
        ['to one', 'to two'],
      );
      one.write('from one');
      two.write('from two');
      await client.until(0, 'from one');
      await client.until(2, 'from two');
      one.end();
      await once(one, 'end');
      client.send(2, 'still there');
      assert.equal(String((await once(two, 'data'))[0]), 'still there');
      const closed = client.closed();
      two.end('last');
      assert.equal(await closed, 1000);
      assert.equal(client.of(2).text, 'from twolast');
      assert.deepEqual([client.of(1).text, client.of(3).text], ['', '']);
    },
  );
}

test(
  'a port that cannot be reached says so on its error channel and leaves the others alone',
  { timeout: 20_000 },
  async (t) => {
    const { open, pod } = await fixture(t, [81]);
    const client = await open([81, 80]);
    await client.until(1, 'error forwarding port 81: connection refused');
    const other = await pod(80);
    client.send(0, 'dropped');
    client.send(2, 'arrives');
    assert.equal(String((await once(other, 'data'))[0]), 'arrives');
    const closed = client.closed();
    other.end();
    assert.equal(await closed, 1000);
  },
);

test(
  'what a client sent before it left reaches the pod, and the end of it',
  { timeout: 20_000 },
  async (t) => {
    const { open, pod } = await fixture(t);
    const client = await open([80]);
    const bulk = Buffer.alloc(8 * 1024 * 1024, 'x');
    for (let start = 0; start < bulk.length; start += 65_536)
      client.send(0, bulk.subarray(start, start + 65_536));
    client.socket.close();
    const there = await pod(80);
    assert.equal((await buffer(there)).length, bulk.length);
    there.destroy();
  },
);

test(
  'a client that vanishes takes its connections along, also those that had heard its end',
  { timeout: 20_000 },
  async (t) => {
    const { open, pod } = await fixture(t);
    const client = await open([80, 81]);
    const [one, two] = [await pod(80), await pod(81)];
    client.send(0, 'x');
    await once(one, 'data');
    client.socket.terminate();
    // Neither of the two ever ends by itself.
    for (const each of [one, two]) {
      each.resume();
      if (!each.readableEnded) await once(each, 'end');
    }
  },
);

test('a pod that does not read holds its client back', { timeout: 20_000 }, async (t) => {
  const { open, pod } = await fixture(t);
  const client = await open([80]);
  const there = await pod(80);
  const bulk = Buffer.alloc(1024 * 1024, 'x');
  const sent = 64;
  for (let count = 0; count < sent; count += 1) client.send(0, bulk);
  await delay(300);
  assert.ok(client.socket.bufferedAmount > 32 * bulk.length, `${client.socket.bufferedAmount} bytes wait`);
  let received = 0;
  there.on('data', (data: Buffer) => (received += data.length));
  while (received < sent * bulk.length) await once(there, 'data');
  there.destroy();
});

test('ports: those of the request, else of the URL; none, a bad one or too many are refused', async (t) => {
  const query = (text: string): URLSearchParams => new URLSearchParams(text);
  assert.deepEqual(portsOf([80], query('port=81')), [80]);
  assert.deepEqual(portsOf([], query('port=81,82&x=1&port=83')), [81, 82, 83]);
  for (const bad of [
    '',
    'port=',
    'port=0',
    'port=65536',
    'port=-1',
    'port=0x50',
    'port=80,',
    'port=8 0',
    'port=1e3',
  ])
    assert.throws(() => portsOf([], query(bad)), { kind: 'invalid-argument' }, bad);
  const many = Array.from({ length: 33 }, (_, index) => index + 1);
  assert.throws(() => portsOf(many, query('')), /more than 32 ports/);
  assert.equal(portsOf([], query(`port=${many.slice(1).join(',')}`)).length, 32);
  const { open } = await fixture(t);
  await assert.rejects(open([]), /400/);
  await assert.rejects(open([], '?port=http'), /400/);
  for (const protocol of ['v5.channel.k8s.io', 'channel.k8s.io', 'portforward.k8s.io'])
    await assert.rejects(open([80], '', [protocol]), /403/);
  const client = await open([], '?port=80');
  await client.until(1, '');
  assert.equal(client.of(1).port, 80);
});
