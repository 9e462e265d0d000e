/** Leases of the in-process host-local when things go wrong: a full disk, a power loss, a crash, another process. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { PluginDeps, PluginRequest } from '../../src/cni/plugin-types.ts';
import { HostLocalPlugin } from '../../src/cni/plugins/host-local.ts';
import { RouteSocket } from '../../src/linux/netlink/socket.ts';
import { Poller } from '../../src/linux/poll.ts';

interface Stage extends Disposable {
  readonly directory: string;
  readonly deps: PluginDeps;
  readonly plugin: HostLocalPlugin;
  names(): string[];
}

const poller = new Poller();
after(async () => await poller[Symbol.asyncDispose]());

function stage(): Stage {
  const dataDir = mkdtempSync(join(tmpdir(), 'gantry-leases-'));
  const directory = join(dataDir, 'testnet');
  const route = RouteSocket.open();
  const unused = (): never => assert.fail('host-local enters no namespace');
  return {
    directory,
    deps: { route, poller, dataDir, openNetlink: unused, writeSysctl: unused, writePodSysctls: unused },
    plugin: new HostLocalPlugin(),
    names: () => readdirSync(directory).filter((name) => /^(?:10\.|fd)/.test(name)),
    [Symbol.dispose]: () => {
      route[Symbol.dispose]();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function request(containerId: string, ipam: object = { subnet: '10.9.0.0/24' }): PluginRequest {
  const config = { name: 'testnet', type: 'bridge', ipam: { type: 'host-local', ...ipam } };
  return { config, containerId, netnsPath: undefined, ifName: 'eth0', args: {} };
}

test('a full disk is an error that says so and leaves no half lease', async () => {
  using here = stage();
  mkdirSync(here.directory);
  // One page for everything: the lease fits, what is written after it does not.
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', here.directory]);
  try {
    await assert.rejects(here.plugin.add(here.deps, request('one')), { kind: 'resource-exhausted' });
    assert.deepEqual(here.names(), []);
    writeFileSync(join(here.directory, 'filler'), 'x');
    await assert.rejects(here.plugin.add(here.deps, request('one')), /ENOSPC/);
    assert.deepEqual(here.names(), []);
    await here.plugin.del(here.deps, request('one'));
  } finally {
    execFileSync('umount', [here.directory]);
  }
});

test('a lease that a crashed ADD left is used again by its retry, and given back by DEL', async () => {
  using here = stage();
  const both = { ranges: [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd09::/64' }]] };
  await here.plugin.add(here.deps, request('other', both));
  // The crash came between the two families.
  writeFileSync(join(here.directory, '10.9.0.77'), 'one\r\neth0');
  const result = await new HostLocalPlugin().add(here.deps, request('one', both));
  assert.deepEqual(
    result.ips.map(({ address }) => address),
    ['10.9.0.77/24', 'fd09::3/64'],
  );
  await here.plugin.del(here.deps, request('one', both));
  assert.deepEqual(here.names(), ['10.9.0.2', 'fd09::2']);
});

test('an empty lease, as a power loss leaves it, is not lost for ever', async () => {
  using here = stage();
  mkdirSync(here.directory);
  for (const name of ['10.9.0.2', '10.9.0.3', 'last_reserved_ip.0'])
    writeFileSync(join(here.directory, name), '');
  const { ips } = await here.plugin.add(here.deps, request('one'));
  assert.equal(ips[0]?.address, '10.9.0.2/24');
  assert.deepEqual(here.names(), ['10.9.0.2']);
});

test('the file of the last address holds that address alone when it was a longer one', async () => {
  using here = stage();
  mkdirSync(here.directory);
  const last = join(here.directory, 'last_reserved_ip.0');
  writeFileSync(last, '10.9.0.254');
  await here.plugin.add(here.deps, request('one'));
  assert.equal(readFileSync(last, 'utf8'), '10.9.0.2');
});

test('leases of the old form are given back', async () => {
  using here = stage();
  mkdirSync(here.directory);
  writeFileSync(join(here.directory, '10.9.0.9'), 'one\n');
  await here.plugin.check(here.deps, request('one'));
  await here.plugin.del(here.deps, request('one'));
  assert.deepEqual(here.names(), []);
});

test('GC gives back what belongs to nobody', async () => {
  using here = stage();
  for (const id of ['one', 'two', 'three']) await here.plugin.add(here.deps, request(id));
  await here.plugin.gc(here.deps, request('').config, [{ containerID: 'two', ifname: 'eth0' }]);
  assert.deepEqual(here.names(), ['10.9.0.3']);
});

test('a directory that was removed by hand, as users do, is made again', async () => {
  using here = stage();
  await here.plugin.add(here.deps, request('one'));
  rmSync(here.directory, { recursive: true });
  await here.plugin.del(here.deps, request('one'));
  await here.plugin.gc(here.deps, request('').config, []);
  await assert.rejects(here.plugin.check(here.deps, request('one')), /no address is leased to one/);
  await here.plugin.add(here.deps, request('two'));
  assert.deepEqual(here.names(), ['10.9.0.2']);
});

test('an address rests: the next one is the one behind the last, once around', async () => {
  using here = stage();
  const small = { subnet: '10.9.0.0/29' };
  const given: (string | undefined)[] = [];
  for (let round = 0; round < 7; round += 1) {
    const { ips } = await here.plugin.add(here.deps, request('one', small));
    given.push(ips[0]?.address.split('.')[3]?.split('/')[0]);
    await here.plugin.del(here.deps, request('one', small));
  }
  assert.deepEqual(given, ['2', '3', '4', '5', '6', '2', '3']);
  for (let index = 0; index < 5; index += 1) await here.plugin.add(here.deps, request(`pod-${index}`, small));
  await assert.rejects(here.plugin.add(here.deps, request('one-more', small)), {
    kind: 'resource-exhausted',
    message: 'network testnet: no IP addresses available in range set: 10.9.0.1-10.9.0.6',
  });
});

test('the lock is shared with other processes', async () => {
  using here = stage();
  mkdirSync(here.directory);
  const lock = join(here.directory, 'lock');
  const holder = spawn('flock', [lock, 'sh', '-c', 'echo held; read line'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  let isDone = false;
  const adding = here.plugin.add(here.deps, request('one')).then(() => (isDone = true));
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(isDone, false);
  holder.stdin.end('\n');
  await adding;
  assert.equal(readFileSync(join(here.directory, '10.9.0.2'), 'utf8'), 'one\r\neth0');
});
