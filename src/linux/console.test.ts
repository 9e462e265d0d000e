import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { connect as connectTo } from 'node:net';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { after, describe, test } from 'node:test';
import { spawnProcess } from './command.ts';
import { openConsole, receiveConsole, setWindowSize } from './console.ts';
import { addressOf, bind, close } from './libc.ts';
import { createPipe } from './pipe.ts';
import { Poller } from './poll.ts';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket, withSocketAddress } from './unix-socket.ts';

const connect = bind<[fd: number, address: Uint8Array, size: number]>(
  'int connect(int fd, const void *addr, socklen_t len)',
);
const sendmsg = bind<[fd: number, message: Uint8Array, flags: number]>(
  'ssize_t sendmsg(int fd, const void *msg, int flags)',
);
const ioctl = bind<[fd: number, request: number, argument: Uint8Array]>(
  'int ioctl(int fd, unsigned long request, void *argument)',
);
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;

const directory = mkdtempSync(`${tmpdir()}/gantry-console-`);
const poller = new Poller();
after(async () => {
  await poller[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** A pty: its master, and its other side opened. */
function openPty(): { master: number; slave: number } {
  const master = openSync('/dev/ptmx', 'r+');
  ioctl(master, TIOCSPTLCK, Buffer.alloc(4));
  const number = Buffer.alloc(4);
  ioctl(master, TIOCGPTN, number);
  return { master, slave: openSync(`/dev/pts/${number.readInt32LE(0)}`, 'r+') };
}

/** What the runtime does: connects and sends descriptors with the terminal's name. */
function sendDescriptors(path: string, fds: readonly number[]): void {
  const connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  withSocketAddress(path, (address) => connect(connection, address, address.length));
  const data = Buffer.from('/dev/ptmx');
  const control = Buffer.alloc(16 + Math.ceil(fds.length / 2) * 8);
  control.writeBigUInt64LE(BigInt(16 + fds.length * 4), 0);
  control.writeInt32LE(1, 8);
  control.writeInt32LE(1, 12);
  for (const [index, fd] of fds.entries()) control.writeInt32LE(fd, 16 + index * 4);
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(addressOf(data), 0);
  vector.writeBigUInt64LE(BigInt(data.length), 8);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(addressOf(vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  assert.equal(sendmsg(connection, message, 0), data.length);
  assert.ok(vector.length > 0 && control.length > 0);
  close(connection);
}

describe('receiveConsole', () => {
  test('hands over the master that was sent, and takes its socket away', async () => {
    const descriptors = readdirSync('/proc/self/fd').length;
    const path = `${directory}/socket`;
    const pty = openPty();
    using console = receiveConsole(path, poller);
    const receiving = console.receive();
    sendDescriptors(path, [pty.master]);
    const master = await receiving;
    assert.notEqual(master, pty.master);
    assert.match(readFileSync(`/proc/self/fdinfo/${master}`, 'latin1'), /flags:\s+0?2\d{6}/);
    closeSync(pty.master);
    writeSync(pty.slave, 'hello');
    const shown = Buffer.alloc(10);
    assert.equal(shown.toString('latin1', 0, readSync(master, shown)), 'hello');
    setWindowSize(master, { columns: 132, rows: 43 });
    const size = Buffer.alloc(8);
    ioctl(pty.slave, 0x5413, size);
    assert.deepEqual([size.readUInt16LE(0), size.readUInt16LE(2)], [43, 132]);
    close(master);
    closeSync(pty.slave);
    console[Symbol.dispose]();
    assert.equal(existsSync(path), false);
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
  });

  test('what is not a terminal, too many descriptors, none, and no answer', async () => {
    const path = `${directory}/refused`;
    using console = receiveConsole(path, poller);
    assert.throws(() => receiveConsole(path, poller), { code: 'EADDRINUSE' });
    const descriptors = readdirSync('/proc/self/fd').length;
    const none = openSync('/dev/null', 'r+');
    let receiving = console.receive();
    sendDescriptors(path, [none, none, none]);
    await assert.rejects(receiving, { kind: 'failed-precondition', message: /not a terminal/ });
    closeSync(none);
    receiving = console.receive();
    connectTo(path).destroySoon();
    await assert.rejects(receiving, { kind: 'failed-precondition', message: /sent no terminal/ });
    const controller = new AbortController();
    receiving = console.receive(controller.signal);
    controller.abort(new Error('given up'));
    await assert.rejects(receiving, /given up/);
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
  });
});

describe('openConsole', () => {
  test('a shell under the terminal: typed, shown, resized, ended', async () => {
    const pty = openPty();
    const fds = new Map([0, 1, 2].map((fd) => [fd, pty.slave]));
    const script = 'stty -echo; read -r line; stty size; echo "got $line"';
    const child = spawnProcess(['sh', '-c', script], { fds, env: {}, newSession: true, poller });
    closeSync(pty.slave);
    const terminal = openConsole(pty.master);
    terminal.resize({ columns: 99, rows: 33 });
    terminal.input.write('typed\n');
    const shown = await text(terminal.output);
    assert.match(shown, /33 99\r\ngot typed\r\n$/);
    assert.deepEqual(await child.exited, { exitCode: 0, signal: undefined });
    terminal.close();
    terminal.close();
    terminal.resize({ columns: 1, rows: 1 });
  });

  test('a reader that is slow loses nothing', async () => {
    const pty = openPty();
    const fds = new Map([[1, pty.slave]]);
    const argv = ['sh', '-c', 'seq 100000'];
    const child = spawnProcess(argv, { fds, env: { PATH: '/usr/bin:/bin' }, newSession: true, poller });
    closeSync(pty.slave);
    const terminal = openConsole(pty.master);
    let shown = '';
    for await (const chunk of terminal.output) {
      shown += String(chunk);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(shown, Array.from({ length: 100_000 }, (_, index) => `${index + 1}\r\n`).join(''));
    assert.equal((await child.exited).exitCode, 0);
    terminal.close();
  });

  test('closing hangs up on the process', async () => {
    const pty = openPty();
    const ready = createPipe();
    const fds = new Map([0, 1, 2].map((fd) => [fd, pty.slave]));
    fds.set(3, ready.write);
    // A session leader that opens a terminal gets it as its controlling one.
    const argv = ['sh', '-c', `exec <${readlinkSync(`/proc/self/fd/${pty.slave}`)}; echo >&3; read -r line`];
    const child = spawnProcess(argv, { fds, env: {}, newSession: true, poller });
    closeSync(pty.slave);
    closeSync(ready.write);
    const terminal = openConsole(pty.master);
    readSync(ready.read, Buffer.alloc(1));
    closeSync(ready.read);
    terminal.close();
    assert.deepEqual(await child.exited, { exitCode: undefined, signal: 1 });
    assert.equal(await text(terminal.output), '');
  });
});
