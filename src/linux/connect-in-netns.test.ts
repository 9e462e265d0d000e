import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import type { ChildProcessHandle } from './child.ts';
import { runCommand, spawnProcess } from './command.ts';
import { connectInNetns } from './connect-in-netns.ts';
import { NamespaceThread } from './namespace-thread.ts';
import { createPipe } from './pipe.ts';
import { Poller } from './poll.ts';

const directory = mkdtempSync(`${tmpdir()}/gantry-connect-`);
const poller = new Poller();
const servers: ChildProcessHandle[] = [];
let thread: NamespaceThread;
let netnsPath: string;

before(async () => {
  thread = await NamespaceThread.start();
  ({ net: netnsPath } = await thread.pin({ kinds: ['net'], directory }));
});
after(async () => {
  for (const server of servers) server.kill('SIGKILL');
  await Promise.all(servers.map(async (server) => await server.exited));
  await thread.unpin([netnsPath]);
  await thread[Symbol.asyncDispose]();
  await poller[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** A server inside the namespace that hands back what it is sent, then its end. */
async function serve(address: string): Promise<void> {
  const log = createPipe();
  const argv = [
    'nsenter',
    `--net=${netnsPath}`,
    'socat',
    '-d',
    '-d',
    `${address},reuseaddr,fork`,
    'EXEC:cat',
  ];
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
  servers.push(spawnProcess(argv, { fds: new Map([[2, log.write]]), env, newSession: true, poller }));
  closeSync(log.write);
  // It says so once it listens.
  const lines = new Socket({ fd: log.read, writable: false });
  await once(lines, 'data');
  lines.resume();
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

  test('containerd#8849, rke2#10466: a server that never answers: the deadline, or the signal', async () => {
    const rule = ['iptables', '-A', 'INPUT', '-p', 'tcp', '--dport', '7', '-j', 'DROP'];
    await runCommand(['nsenter', `--net=${netnsPath}`, ...rule], { check: true });
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
