import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { connectInNetns } from './connect-in-netns.ts';
import { NamespaceThread } from './namespace-thread.ts';
import { Poller } from './poll.ts';

const directory = mkdtempSync(`${tmpdir()}/gantry-connect-`);
const poller = new Poller();
const servers: ChildProcess[] = [];
let thread: NamespaceThread;
let netnsPath: string;

before(async () => {
  thread = await NamespaceThread.start();
  ({ net: netnsPath } = await thread.pin({ kinds: ['net'], directory }));
});
after(async () => {
  for (const server of servers) server.kill('SIGKILL');
  await thread.unpin([netnsPath]);
  await thread[Symbol.asyncDispose]();
  await poller[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** A server inside the namespace that hands back what it is sent, then its end. */
async function serve(address: string): Promise<void> {
  const argv = [`--net=${netnsPath}`, 'socat', '-d', '-d', `${address},reuseaddr,fork`, 'EXEC:cat'];
  const server = spawn('nsenter', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  servers.push(server);
  // It says so once it listens.
  await once(server.stderr, 'data');
  server.stderr.resume();
}

describe('connectInNetns', () => {
  test('reaches a server on IPv4, and one on IPv6 alone; half-close and end arrive', async () => {
    await serve('TCP4-LISTEN:8004,bind=127.0.0.1');
    await serve('TCP6-LISTEN:8006,bind=[::1],ipv6only=1');
    for (const port of [8004, 8006]) {
      const socket = await connectInNetns({ thread, poller, netnsPath, port, timeoutMs: 5000 });
      socket.end(Buffer.alloc(1_000_000, 'x'));
      assert.equal((await text(socket)).length, 1_000_000);
    }
    const request = { thread, poller, netnsPath, port: 8006, timeoutMs: 5000 } as const;
    (await connectInNetns({ ...request, host: '::1' })).destroy();
    await assert.rejects(connectInNetns({ ...request, host: '127.0.0.1' }), { kind: 'unavailable' });
  });

  test('nothing listens: unavailable, the port named, no descriptor left', async () => {
    const request = { thread, poller, netnsPath, port: 9, timeoutMs: 5000 };
    await connectInNetns(request).catch(() => {});
    const descriptors = readdirSync('/proc/self/fd').length;
    await assert.rejects(connectInNetns(request), { kind: 'unavailable', message: /port 9 .*ECONNREFUSED/ });
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
  });

  test('a server that never answers: the deadline, or the signal', async () => {
    const drop = spawn('nsenter', [
      `--net=${netnsPath}`,
      'iptables',
      '-A',
      'INPUT',
      '-p',
      'tcp',
      '--dport',
      '7',
      '-j',
      'DROP',
    ]);
    assert.deepEqual(await once(drop, 'exit'), [0, null]);
    const request = { thread, poller, netnsPath, port: 7, timeoutMs: 50 };
    await assert.rejects(connectInNetns(request), { kind: 'deadline-exceeded', message: /port 7 .*50 ms/ });
    const controller = new AbortController();
    const connecting = connectInNetns({ ...request, timeoutMs: 60_000 }, controller.signal);
    controller.abort(new Error('client left'));
    await assert.rejects(connecting, /client left/);
  });

  test('a namespace that is gone is named', async () => {
    const request = { thread, poller, netnsPath: `${directory}/gone`, port: 80, timeoutMs: 5000 };
    await assert.rejects(connectInNetns(request), /gone/);
  });
});
