import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { pauseReading, resumeReading } from './paused-socket.ts';

/** Both ends of a connection, the server's not reading, and what has reached it. */
async function pausedConnection() {
  const http = createServer().listen(0, '127.0.0.1');
  await once(http, 'listening');
  const server = new WebSocketServer({ server: http });
  const client = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}`);
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(client, 'open')])) as [
    [WebSocket],
    unknown,
  ];
  const received: string[] = [];
  socket.on('message', (data: Buffer) => received.push(data.toString()));
  socket.on('error', () => undefined);
  client.on('error', () => undefined);
  pauseReading(socket, 20);
  return {
    socket,
    client,
    received,
    [Symbol.dispose]() {
      client.terminate();
      socket.terminate();
      server.close();
      http.close();
    },
  };
}

test('a client that vanishes while it is not read is noticed', { timeout: 30_000 }, async () => {
  using connection = await pausedConnection();
  const closed = once(connection.socket, 'close');
  // More than the kernel takes: the end lies behind what nobody reads.
  for (let sent = 0; sent < 16; sent += 1) connection.client.send(Buffer.alloc(1024 * 1024));
  connection.client.terminate();
  await closed;
});

test(
  'a client that waits is left alone, and what it sent is read in the end',
  { timeout: 30_000 },
  async () => {
    using connection = await pausedConnection();
    connection.client.send('first');
    let pings = 0;
    const enough = Promise.withResolvers<void>();
    connection.client.on('ping', () => (pings += 1) === 5 && enough.resolve());
    await enough.promise;
    assert.equal(connection.socket.readyState, WebSocket.OPEN);
    assert.deepEqual(connection.received, []);
    const listeners = connection.socket.listenerCount('close');
    for (let round = 0; round < 20; round += 1) {
      resumeReading(connection.socket);
      pauseReading(connection.socket, 20);
    }
    assert.equal(connection.socket.listenerCount('close'), listeners);
    const read = once(connection.socket, 'message');
    resumeReading(connection.socket);
    await read;
    assert.deepEqual(connection.received, ['first']);
  },
);
