import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, describe, test } from 'node:test';
import { bind, close } from './libc.ts';
import { Poller, untilReady } from './poll.ts';
import { connectSeqpacket, SeqpacketConnection } from './seqpacket.ts';
import {
  AF_UNIX,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  socket,
  withSocketAddress,
} from './unix-socket.ts';

const bindAddress = bind<[fd: number, address: Uint8Array, size: number]>(
  'int bind(int fd, const void *addr, socklen_t len)',
);
const listen = bind<[fd: number, backlog: number]>('int listen(int fd, int backlog)');
const accept = bind<[fd: number, address: null, size: null, flags: number]>(
  'int accept4(int fd, void *addr, void *len, int flags)',
);

const directory = mkdtempSync(`${tmpdir()}/gantry-seqpacket-`);
const poller = new Poller();
after(async () => {
  await poller[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

class Server implements Disposable {
  readonly path: string;
  readonly #fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

  constructor(path: string, backlog = 10) {
    this.path = path;
    withSocketAddress(path, (address) => bindAddress(this.#fd, address, address.length));
    listen(this.#fd, backlog);
  }

  async accept(): Promise<SeqpacketConnection> {
    await untilReady(poller, this.#fd, { events: 'read' });
    return new SeqpacketConnection(accept(this.#fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK), poller);
  }

  [Symbol.dispose](): void {
    close(this.#fd);
    rmSync(this.path);
  }
}

describe('SeqpacketConnection', () => {
  test('keeps the borders of packets both ways, and tells the end after the last one', async () => {
    using server = new Server(`${directory}/plain`);
    using client = await connectSeqpacket(server.path, poller);
    using peer = await server.accept();
    const received: string[] = [];
    peer.receive((packet) => received.push(packet.toString()));
    await Promise.all(['one', 'two', 'three'].map(async (word) => await client.send(Buffer.from(word))));
    await client.endSending();
    await peer.closed;
    assert.deepEqual(received, ['one', 'two', 'three']);
    const answers: string[] = [];
    client.receive((packet) => answers.push(packet.toString()));
    await peer.send(Buffer.from('answer'));
    peer.close();
    await client.closed;
    assert.deepEqual(answers, ['answer']);
  });

  test('a receiver that does not read makes the sender wait; all arrives in order', async () => {
    using server = new Server(`${directory}/slow`);
    using client = await connectSeqpacket(server.path, poller);
    using peer = await server.accept();
    const packets = 500;
    const sends = Array.from({ length: packets }, async (_, index) => {
      const packet = Buffer.alloc(8192);
      packet.writeUInt32LE(index);
      await client.send(packet);
    });
    const numbers: number[] = [];
    const all = Promise.withResolvers<void>();
    peer.receive((packet) => {
      assert.equal(packet.length, 8192);
      numbers.push(packet.readUInt32LE(0));
      if (numbers.length % 50 === 0) {
        peer.pause();
        setImmediate(() => peer.resume());
      }
      if (numbers.length === packets) all.resolve();
    });
    await Promise.all(sends);
    await all.promise;
    assert.deepEqual(
      numbers,
      Array.from({ length: packets }, (_, index) => index),
    );
  });

  test('a path longer than a socket address can hold', async () => {
    const deep = `${directory}/${'d'.repeat(120)}`;
    mkdirSync(deep);
    using server = new Server(`${deep}/attach`);
    const descriptors = readdirSync('/proc/self/fd').length;
    const client = await connectSeqpacket(server.path, poller);
    client.close();
    client.close();
    await client.closed;
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
    await assert.rejects(connectSeqpacket(`${deep}/${'n'.repeat(120)}`, poller), { code: 'ENAMETOOLONG' });
  });

  test('a server whose queue is full is waited for, until aborted', async () => {
    using server = new Server(`${directory}/full`, 0);
    using _first = await connectSeqpacket(server.path, poller);
    const second = connectSeqpacket(server.path, poller);
    (await server.accept()).close();
    (await second).close();
    const controller = new AbortController();
    const waiting = connectSeqpacket(server.path, poller, controller.signal);
    controller.abort(new Error('left'));
    await assert.rejects(waiting, /left/);
  });

  test('nobody there, and a side that goes away, are errors with a name', async () => {
    const missing = `${directory}/missing`;
    await assert.rejects(connectSeqpacket(missing, poller), { code: 'ENOENT', path: missing });
    using server = new Server(`${directory}/gone`);
    const client = await connectSeqpacket(server.path, poller);
    (await server.accept()).close();
    await assert.rejects(client.send(Buffer.from('x')), { code: 'EPIPE' });
    client.close();
    await assert.rejects(client.send(Buffer.from('x')), { kind: 'cancelled' });
  });
});
