import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { isKind } from '../lib/errors.ts';
import { bind } from './libc.ts';
import { NamespaceThread } from './namespace-thread.ts';

const execute = promisify(execFile);
const dup2 = bind<[from: number, to: number]>('int dup2(int from, int to)');
const directory = mkdtempSync(`${tmpdir()}/gantry-namespaces-`);
const allKinds = ['net', 'ipc', 'uts'] as const;
let thread: NamespaceThread;

before(async () => {
  thread = await NamespaceThread.start();
});
after(async () => {
  await thread[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The namespaces of every thread of this process, each once. */
function namespacesOfThreads(): string[] {
  const links = readdirSync('/proc/self/task').flatMap((task) =>
    allKinds.map((kind) => readlinkSync(`/proc/self/task/${task}/ns/${kind}`)),
  );
  return [...new Set(links)].toSorted();
}

async function inside(pins: Record<'net' | 'ipc' | 'uts', string>, ...argv: string[]): Promise<string> {
  const options = allKinds.map((kind) => `--${kind}=${pins[kind]}`);
  return (await execute('nsenter', [...options, ...argv])).stdout.trim();
}

async function textIn(from: NamespaceThread, netnsPath: string, path: string): Promise<string> {
  const fd = await from.openFile(netnsPath, path);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

describe('NamespaceThread', () => {
  test('a call that hangs fails by its deadline, and the next one has another thread', async () => {
    const own = await NamespaceThread.start({ deadlineMs: 3000 });
    const fifo = `${directory}/fifo`;
    await execute('mkfifo', [fifo]);
    // Warm: the deadline is not for starting the thread.
    const { net } = await thread.pin({ kinds: ['net'], directory: `${directory}/hanging` });
    const hung = own.openFile(net, fifo);
    const next = textIn(own, net, '/proc/net/dev');
    await assert.rejects(
      hung,
      (error) => isKind(error, 'deadline-exceeded') && /open-file .*hanging\/net/.test(String(error)),
    );
    assert.match(await next, /lo:/);
    // Lets the hung one come back: it ends, and its late answer is nobody's.
    closeSync(openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK));
    assert.match(await textIn(own, net, '/proc/net/dev'), /lo:/);
    await own[Symbol.asyncDispose]();
    await thread.unpin([net]);
  });

  test('pins namespaces with lo up, hostname and sysctls, and takes the pins away again', async () => {
    const pins = await thread.pin({
      kinds: allKinds,
      directory: `${directory}/full`,
      hostname: 'pod-1',
      sysctls: {
        'net.ipv4.ip_unprivileged_port_start': '0',
        'kernel/shm_rmid_forced': '1',
        'fs.mqueue.msg_max': '77',
        'kernel.domainname': 'example',
      },
    });
    assert.deepEqual(pins, {
      net: `${directory}/full/net`,
      ipc: `${directory}/full/ipc`,
      uts: `${directory}/full/uts`,
    });
    for (const kind of allKinds) {
      assert.notEqual(statSync(pins[kind]).ino, statSync(`/proc/self/ns/${kind}`).ino);
    }
    const [link] = JSON.parse(await inside(pins, 'ip', '-j', 'addr')) as {
      ifname: string;
      flags: string[];
      addr_info: { local: string }[];
    }[];
    assert.equal(link?.ifname, 'lo');
    assert.ok(link.flags.includes('UP'));
    assert.ok(link.addr_info.some((address) => address.local === '127.0.0.1'));
    assert.equal(await inside(pins, 'hostname'), 'pod-1');
    const files = [
      'net/ipv4/ip_unprivileged_port_start',
      'kernel/shm_rmid_forced',
      'fs/mqueue/msg_max',
      'kernel/domainname',
    ];
    const values = await inside(pins, 'cat', ...files.map((file) => `/proc/sys/${file}`));
    assert.equal(values, '0\n1\n77\nexample');
    await thread.unpin(Object.values(pins));
    await thread.unpin(Object.values(pins));
    assert.deepEqual(readdirSync(`${directory}/full`), []);
    assert.ok(!(await readFile('/proc/self/mountinfo', 'utf8')).includes(directory));
  });

  test('a hundred rounds: no thread of the process moves, no descriptor stays open', async () => {
    const host = namespacesOfThreads();
    assert.equal(host.length, 3);
    const descriptors = readdirSync('/proc/self/fd').length;
    const inodes = new Set<number>();
    for (let round = 0; round < 100; round += 1) {
      const pins = await thread.pin({
        kinds: allKinds,
        directory: `${directory}/round`,
        hostname: `h${round}`,
      });
      inodes.add(statSync(pins.net).ino);
      closeSync(await thread.openNetlink(pins.net));
      if (round % 10 === 0) assert.deepEqual(namespacesOfThreads(), host);
      await thread.unpin(Object.values(pins));
    }
    assert.ok(inodes.size > 0);
    assert.deepEqual(namespacesOfThreads(), host);
    assert.equal(readdirSync('/proc/self/fd').length, descriptors);
  });

  test('only the asked kinds are made; none at all is fine', async () => {
    const pins = await thread.pin({ kinds: ['ipc'], directory: `${directory}/one` });
    assert.deepEqual(readdirSync(`${directory}/one`), ['ipc']);
    await thread.unpin([pins.ipc]);
    assert.deepEqual(await thread.pin({ kinds: [], directory: `${directory}/none` }), {});
    assert.equal(existsSync(`${directory}/none`), false);
  });

  test('sysctls and files of a netns are its own', async () => {
    const pins = await thread.pin({ kinds: ['net'], directory: `${directory}/own` });
    const file = '/proc/sys/net/ipv4/conf/lo/route_localnet';
    const host = await readFile(file, 'latin1');
    // What the kernel does not have is left out: it may be one without IPv6.
    await thread.writeSysctls(pins.net, {
      'net.ipv6.no_such': '1',
      'net.ipv4.conf.lo.route_localnet': '1',
    });
    assert.equal(await textIn(thread, pins.net, file), '1\n');
    assert.equal(await readFile(file, 'latin1'), host);
    const links = (await textIn(thread, pins.net, '/proc/net/dev')).match(/^\s*\S+:/gm);
    assert.deepEqual(
      links?.filter((name) => name.includes('eth') || name.includes('ens')),
      [],
    );
    await assert.rejects(thread.writeSysctls(pins.net, { 'net.ipv4.ip_forward': 'x' }), {
      kind: 'invalid-argument',
    });
    await assert.rejects(thread.writeSysctls(pins.net, { 'kernel.shmmax': '1' }), {
      kind: 'invalid-argument',
    });
    await thread.unpin([pins.net]);
  });

  test('what was opened outlives the thread', async () => {
    const own = await NamespaceThread.start();
    const { net } = await own.pin({ kinds: ['net'], directory: `${directory}/outlived` });
    const fd = await own.openFile(net, '/proc/net/dev');
    await own.unpin([net]);
    await own[Symbol.asyncDispose]();
    assert.match(readFileSync(fd, 'utf8'), /lo:/);
    closeSync(fd);
  });

  test('a failure leaves nothing behind and the thread at home', async () => {
    const host = namespacesOfThreads();
    const bad = { kinds: allKinds, directory: `${directory}/bad` };
    const sysctls = { 'net.ipv4.no_such_parameter': '1' };
    await assert.rejects(thread.pin({ ...bad, sysctls }), { kind: 'invalid-argument' });
    assert.deepEqual(readdirSync(`${directory}/bad`), []);
    writeFileSync(`${directory}/bad/uts`, 'not ours');
    await assert.rejects(thread.pin(bad), { code: 'EEXIST', path: `${directory}/bad/uts` });
    assert.deepEqual(readdirSync(`${directory}/bad`), ['uts']);
    await assert.rejects(thread.openNetlink(`${directory}/bad/net`), { code: 'ENOENT' });
    await assert.rejects(
      thread.openNetlink(`${directory}/bad/uts`),
      (error: Error) =>
        isKind(error, 'failed-precondition') && error.message.includes(`${directory}/bad/uts`),
    );
    await assert.rejects(thread.openFile('/proc/self/ns/net', '/proc/net/no-such'), { code: 'ENOENT' });
    assert.deepEqual(namespacesOfThreads(), host);
  });

  test('what does not fit the namespaces asked for is refused before anything is made', async () => {
    for (const request of [
      { kinds: ['net'] as const, hostname: 'pod' },
      { kinds: allKinds, hostname: 'x'.repeat(65) },
      { kinds: allKinds, hostname: 'a\nb' },
      { kinds: ['uts'] as const, sysctls: { 'net.ipv4.ip_forward': '1' } },
      { kinds: allKinds, sysctls: { 'kernel.core_pattern': '|/bin/true' } },
    ]) {
      await assert.rejects(thread.pin({ ...request, directory: `${directory}/refused` }), {
        kind: 'invalid-argument',
      });
    }
    assert.equal(existsSync(`${directory}/refused`), false);
  });

  test('a thread that cannot go back is replaced, and what waits is done by the next', async () => {
    const host = namespacesOfThreads();
    const own = await NamespaceThread.start();
    const pins = await own.pin({ kinds: ['net'], directory: `${directory}/stranded` });
    const homes = readdirSync('/proc/self/fd').filter(
      (fd) => linkOf(fd) === readlinkSync('/proc/self/ns/net'),
    );
    const none = openSync('/dev/null', 'r');
    // Both threads' ways home: only the one under test is used meanwhile, and the other is not needed again after this.
    for (const fd of homes) dup2(none, Number(fd));
    closeSync(none);
    const fds = await Promise.all(Array.from({ length: 3 }, async () => await own.openNetlink(pins.net)));
    assert.equal(new Set(fds).size, 3);
    for (const fd of fds) closeSync(fd);
    await own.unpin([pins.net]);
    await own[Symbol.asyncDispose]();
    assert.deepEqual(namespacesOfThreads(), host);
    await thread[Symbol.asyncDispose]();
    thread = await NamespaceThread.start();
  });

  test('disposing finishes what was asked and refuses more', async () => {
    const own = await NamespaceThread.start();
    const asked = Array.from({ length: 5 }, async () => await own.openNetlink('/proc/self/ns/net'));
    await own[Symbol.asyncDispose]();
    for (const fd of await Promise.all(asked)) closeSync(fd);
    await assert.rejects(own.unpin([`${directory}/x`]), { kind: 'unavailable' });
    await own[Symbol.asyncDispose]();
  });

  test('a process ends by itself although the thread was never disposed of', async () => {
    const code = `import { NamespaceThread } from ${JSON.stringify(new URL('./namespace-thread.ts', import.meta.url).href)};
      const thread = await NamespaceThread.start(); await thread.unpin(['/no/such/pin']); console.log('done');`;
    const argv = ['--input-type=module', '-e', code];
    const { stdout } = await execute(process.execPath, argv, { timeout: 20_000 });
    assert.equal(stdout, 'done\n');
  });
});

function linkOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}
