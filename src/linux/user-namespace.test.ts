import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { isKind } from '../lib/errors.ts';
import { bindMount, mountTmpfs, unmount } from './mount.ts';
import { NamespaceThread } from './namespace-thread.ts';
import { Poller } from './poll.ts';
import { enterPrivateMounts } from './private-mounts.ts';
import { pinInUserNamespace, startInUserNamespace } from './user-namespace.ts';

enterPrivateMounts();
const execute = promisify(execFile);
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-userns-')));
mountTmpfs({ target: base });
const ids = { containerId: 0, hostId: 70_000, length: 65_536 };
const mappings = { uids: [ids], gids: [ids] };
let poller: Poller;
let thread: NamespaceThread;

before(async () => {
  poller = new Poller();
  thread = await NamespaceThread.start();
});
after(async () => {
  await thread[Symbol.asyncDispose]();
  await poller[Symbol.asyncDispose]();
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

test('namespaces are pinned that belong to a new user namespace, set up, and outlive their maker', async () => {
  const directory = join(base, 'pins');
  await pinInUserNamespace({ thread, poller }, mappings, {
    kinds: ['net', 'ipc', 'uts'],
    directory,
    hostname: 'mapped',
    sysctls: {
      'net.ipv4.ip_unprivileged_port_start': '0',
      'kernel.shm_rmid_forced': '1',
      'kernel.msgmax': '9000',
    },
  });
  assert.deepEqual(readdirSync(directory).toSorted(), ['ipc', 'net', 'user', 'uts']);
  const enter = ['user', 'net', 'ipc', 'uts'].map((kind) => `--${kind}=${directory}/${kind}`);
  const inside = async (...argv: string[]): Promise<string> =>
    (await execute('nsenter', [...enter, ...argv])).stdout.trim();
  assert.equal((await inside('cat', '/proc/self/uid_map')).replaceAll(/\s+/g, ' '), '0 70000 65536');
  assert.equal((await inside('cat', '/proc/self/gid_map')).replaceAll(/\s+/g, ' '), '0 70000 65536');
  assert.equal(await inside('hostname'), 'mapped');
  assert.equal(await inside('cat', '/proc/sys/kernel/shm_rmid_forced', '/proc/sys/kernel/msgmax'), '1\n9000');
  assert.equal(await inside('cat', '/proc/sys/net/ipv4/ip_unprivileged_port_start'), '0');
  // Only the owner of a network namespace may change its links.
  await inside('ip', 'link', 'set', 'lo', 'down');
  assert.equal(readFileSync('/proc/sys/kernel/msgmax', 'utf8').trim(), '8192');
  await thread.unpin(readdirSync(directory).map((kind) => join(directory, kind)));
});

test('nothing is left when the kernel refuses the ids, a sysctl or its value', async () => {
  const twice = { uids: [ids, ids], gids: [ids, ids] };
  await assert.rejects(startInUserNamespace(poller, twice), (error) => isKind(error, 'invalid-argument'));
  for (const sysctls of [{ 'kernel.msgmax': 'many' }, { 'net.ipv4.gone': '1' }]) {
    const directory = join(base, 'refused');
    const request = { kinds: ['net', 'ipc'], directory, sysctls } as const;
    await assert.rejects(
      pinInUserNamespace({ thread, poller }, mappings, request),
      (error: Error) => isKind(error, 'invalid-argument') && /msgmax|gone/.test(error.message),
    );
    assert.deepEqual(existsSync(directory) ? readdirSync(directory) : [], []);
  }
});

test('the holder ends when it is disposed', async () => {
  const holder = await startInUserNamespace(poller, mappings);
  assert.ok(existsSync(`/proc/${holder.pid}/ns/user`));
  await holder[Symbol.asyncDispose]();
  assert.equal(existsSync(`/proc/${holder.pid}`), false);
});

test('a bind mount shows ids as the user namespace has them, also below it, and the source does not change', async () => {
  await using holder = await startInUserNamespace(poller, mappings);
  const source = join(base, 'source');
  const target = join(base, 'target');
  for (const path of [source, target, join(source, 'below')]) mkdirSync(path, { recursive: true });
  mountTmpfs({ target: join(source, 'below') });
  for (const name of ['file', 'below/file', 'far']) writeFileSync(join(source, name), '');
  chownSync(join(source, 'file'), 5, 6);
  chownSync(join(source, 'far'), 65_536, 65_536);
  bindMount(source, target, { recursive: true, idsOf: `/proc/${holder.pid}/ns/user` });
  const owner = (path: string): number[] => [statSync(path).uid, statSync(path).gid];
  assert.deepEqual(owner(join(target, 'file')), [70_005, 70_006]);
  assert.deepEqual(owner(join(target, 'below/file')), [70_000, 70_000]);
  assert.deepEqual(owner(join(target, 'far')), [65_534, 65_534]);
  assert.deepEqual(owner(join(source, 'file')), [5, 6]);
  for (const path of [join(target, 'below'), target, join(source, 'below')]) unmount(path, { lazy: true });
});

test('a mount below that cannot map ids leaves the top one mapped; one on top is refused', async () => {
  await using holder = await startInUserNamespace(poller, mappings);
  const idsOf = `/proc/${holder.pid}/ns/user`;
  const source = join(base, 'mixed');
  const target = join(base, 'mixed-target');
  for (const path of [join(source, 'proc'), target]) mkdirSync(path, { recursive: true });
  bindMount('/proc', join(source, 'proc'));
  bindMount(source, target, { recursive: true, idsOf });
  assert.equal(statSync(target).uid, 70_000);
  assert.throws(() => bindMount('/proc', target, { idsOf }), { code: 'EINVAL' });
  unmount(join(target, 'proc'), { lazy: true });
  for (const path of [target, join(source, 'proc')]) unmount(path, { lazy: true });
});
