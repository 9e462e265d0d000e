/**
 * The pods' networks with the plugins' real programs (Debian's containernetworking-plugins) and with those of this
 * process, in a network and mount namespace that stand for a host and end with the test. iproute2, nft and the lease
 * files are the witnesses. Needs root.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { createInProcessPlugins } from '../../src/cni/plugins/in-process-plugins.ts';
import { NamespaceThread } from '../../src/linux/namespace-thread.ts';
import { RouteSocket } from '../../src/linux/netlink/socket.ts';
import { Poller } from '../../src/linux/poll.ts';
import { openNetworks, type Networks, type NetworksOptions } from '../../src/networks/networks.ts';

const isInside = process.env['GANTRY_TEST_HOST'] === 'throwaway';
const binDir = '/usr/lib/cni';
const missing = ['bridge', 'host-local', 'portmap'].filter((type) => !existsSync(join(binDir, type)));
const skip =
  missing.length > 0 && `${binDir} lacks ${missing.join(', ')} (package containernetworking-plugins)`;

const run = (...argv: readonly [string, ...string[]]): string =>
  execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' });
const linkNames = (): string[] =>
  (JSON.parse(run('ip', '-j', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname);

/** A pod's namespace, named after it. */
function makePod(digit: string) {
  const sandboxId = digit.repeat(64);
  run('ip', 'netns', 'add', `pod-${digit}`);
  run('ip', '-n', `pod-${digit}`, 'link', 'set', 'lo', 'up');
  const netnsPath = `/run/netns/pod-${digit}`;
  return {
    sandboxId,
    netnsPath,
    pod: { name: `pod-${digit}`, namespace: 'default', uid: digit },
    portMappings: [],
  };
}

type How = 'programs' | 'this process';

interface Host {
  readonly confDir: string;
  readonly cacheDir: string;
  leases(network: string): string[];
  open(how: How, more?: Partial<NetworksOptions>): Promise<Networks>;
}

async function makeHost(t: TestContext): Promise<Host> {
  const root = mkdtempSync(join(tmpdir(), 'gantry-cni-host-'));
  const route = RouteSocket.open();
  const thread = await NamespaceThread.start();
  const poller = new Poller();
  t.after(async () => {
    route[Symbol.dispose]();
    await poller[Symbol.asyncDispose]();
    await thread[Symbol.asyncDispose]();
    rmSync(root, { recursive: true });
    for (const name of existsSync('/run/netns') ? readdirSync('/run/netns') : [])
      run('ip', 'netns', 'del', name);
    run('nft', 'flush', 'ruleset');
    for (const name of linkNames().filter((link) => link !== 'lo')) spawnSync('ip', ['link', 'del', name]);
  });
  const confDir = join(root, 'net.d');
  const cacheDir = join(root, 'cni');
  mkdirSync(confDir);
  return {
    confDir,
    cacheDir,
    leases: (network) => {
      const directory = join(cacheDir, 'networks', network);
      return existsSync(directory) ? readdirSync(directory).filter((name) => /^[\d.]+$/.test(name)) : [];
    },
    open: async (how, more = {}) => {
      const networks = await openNetworks({
        plugins: how === 'programs' ? [] : createInProcessPlugins(),
        pluginDeps: {
          route,
          poller,
          openNetlink: async (netnsPath) => await thread.openNetlink(netnsPath),
          writeSysctl: (name, value) => writeFileSync(join('/proc/sys', name), value),
          writePodSysctls: async (netnsPath, values) => await thread.writeSysctls(netnsPath, values),
          dataDir: join(cacheDir, 'networks'),
          runDir: join(root, 'run'),
        },
        confDir,
        binDirs: how === 'programs' ? [binDir] : [],
        cacheDir,
        log: pino({ enabled: false }),
        ...more,
      });
      t.after(async () => await networks[Symbol.asyncDispose]());
      return networks;
    },
  };
}

function configure({ confDir, cacheDir }: Host, ports: object = {}): void {
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet: '10.77.0.0/24' }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: join(cacheDir, 'networks'),
  };
  const bridge = { type: 'bridge', bridge: 'cni77', isGateway: true, ipMasq: true, hairpinMode: true, ipam };
  const portmap = { type: 'portmap', capabilities: { portMappings: true }, ...ports };
  writeFileSync(
    join(confDir, '10-test.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'test', plugins: [bridge, portmap] }),
  );
}

test('the programs on a host of their own', { skip: isInside || skip }, () => {
  // Everything below runs in the child: a process cannot leave its own network namespace with all its threads.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const inner =
    'mount -t tmpfs tmpfs /run && mkdir -p /run/netns "${TMPDIR:-/tmp}" && ip link set lo up && exec "$0" --test --test-reporter=tap "$1"';
  const child = spawnSync(
    'unshare',
    ['--mount', '--net', '--', 'sh', '-c', inner, process.execPath, import.meta.filename],
    {
      env: { ...env, GANTRY_TEST_HOST: 'throwaway' },
      encoding: 'utf8',
    },
  );
  assert.equal(child.status, 0, child.stdout + child.stderr);
  assert.match(child.stdout, /# pass [1-9]/);
});

for (const how of isInside ? (['programs', 'this process'] as const) : []) {
  test(`two pods get addresses, reach each other and the host, and give everything back (${how})`, async (t) => {
    const host = await makeHost(t);
    configure(host);
    const networks = await host.open(how);
    assert.deepEqual(await networks.status(), { ready: true, reason: '', message: '' });
    const [a, b] = [makePod('a'), makePod('b')];
    const portMappings = [{ protocol: 'tcp', containerPort: 80, hostPort: 18080 }] as const;
    const attached = await Promise.all([networks.attach({ ...a, portMappings }), networks.attach(b)]);
    assert.deepEqual(attached.flatMap(({ ips }) => ips).sort(), ['10.77.0.2', '10.77.0.3']);
    assert.deepEqual(host.leases('test').sort(), ['10.77.0.2', '10.77.0.3']);
    const [ipOfA = ''] = attached[0].ips;
    assert.equal(
      readFileSync(join(host.cacheDir, 'networks', 'test', ipOfA), 'utf8'),
      `${a.sandboxId}\r\neth0`,
    );
    run('ip', 'netns', 'exec', 'pod-b', 'busybox', 'ping', '-c1', '-W2', ipOfA);
    run('busybox', 'ping', '-c1', '-W2', ipOfA);
    assert.match(run('iptables-save', '-t', 'nat') + run('nft', 'list', 'ruleset'), /18080/);
    await networks.check(b.sandboxId);
    run('ip', '-n', 'pod-b', 'addr', 'flush', 'dev', 'eth0');
    await assert.rejects(networks.check(b.sandboxId), /plugin bridge, CHECK/);

    // A later daemon, and a pod whose namespace is already gone.
    const later = await host.open(how);
    run('ip', 'netns', 'del', 'pod-b');
    await Promise.all([later.detach(a.sandboxId), later.detach(b.sandboxId)]);
    assert.deepEqual(host.leases('test'), []);
    assert.deepEqual(readdirSync(join(host.cacheDir, 'results')), []);
    // The program leaves the bridge that it made.
    assert.deepEqual(linkNames(), how === 'programs' ? ['lo', 'cni77'] : ['lo']);
    assert.doesNotMatch(run('iptables-save', '-t', 'nat') + run('nft', 'list', 'ruleset'), /18080/);
  });

  test(`containernetworking/plugins#252, kubernetes#108121: after a reboot every address is given back (${how})`, async (t) => {
    const host = await makeHost(t);
    configure(host);
    const before = await host.open(how);
    const pods = ['a', 'b', 'c'].map(makePod);
    for (const pod of pods) await before.attach(pod);
    writeFileSync(join(host.cacheDir, 'networks', 'test', '10.77.0.99'), `${'f'.repeat(64)}\r\neth0`);
    assert.equal(host.leases('test').length, 4);
    for (const digit of ['a', 'b', 'c']) run('ip', 'netns', 'del', `pod-${digit}`);
    const after = await host.open(how);
    await after.collectGarbage([]);
    assert.deepEqual(host.leases('test'), []);
    assert.deepEqual(readdirSync(join(host.cacheDir, 'results')), []);
  });

  test(`the built-in network runs a first pod with no configuration, in a subnet that is free (${how})`, async (t) => {
    const host = await makeHost(t);
    run('ip', 'link', 'add', 'lan0', 'type', 'bridge');
    run('ip', 'addr', 'add', '10.88.3.1/24', 'dev', 'lan0');
    run('ip', 'link', 'set', 'lan0', 'up');
    const networks = await host.open(how);
    const { ips } = await networks.attach(makePod('a'));
    assert.deepEqual(ips, ['10.89.0.2']);
    run('ip', 'netns', 'exec', 'pod-a', 'busybox', 'ping', '-c1', '-W2', '10.88.3.1');

    await networks.setPodCidr(['10.244.7.0/24']);
    assert.deepEqual((await networks.attach(makePod('b'))).ips, ['10.244.7.2']);
    run('ip', 'netns', 'exec', 'pod-a', 'busybox', 'ping', '-c1', '-W2', '10.244.7.2');

    const later = await host.open(how);
    await later.collectGarbage(['b'.repeat(64)]);
    assert.deepEqual([host.leases('gantry0'), host.leases('gantry1')], [[], ['10.244.7.2']]);
    const bridges = linkNames().filter((name) => name.startsWith('gantry'));
    assert.deepEqual(bridges, ['gantry1']);
    await later.detach('b'.repeat(64));
    await (await host.open(how)).collectGarbage([]);
    assert.deepEqual(host.leases('gantry1'), []);
  });

  test(`an ADD that fails half-way leaves no lease, link or record (${how})`, async (t) => {
    const host = await makeHost(t);
    configure(host, {
      runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 80, protocol: 'tcp' }] },
    });
    const networks = await host.open(how);
    const pod = makePod('a');
    const failure = networks.attach(pod);
    await assert.rejects(failure, { message: /plugin portmap, ADD/ });
    assert.deepEqual(host.leases('test'), []);
    assert.deepEqual(readdirSync(join(host.cacheDir, 'results')), []);
    assert.doesNotMatch(run('ip', '-n', 'pod-a', '-br', 'link'), /eth0/);
    configure(host);
    assert.equal((await (await host.open(how)).attach(pod)).ips.length, 1);
    await (await host.open(how)).detach(pod.sandboxId);
  });
}

if (isInside) {
  test('a node may switch between programs and this process: each attachment is undone by who made it', async (t) => {
    const host = await makeHost(t);
    configure(host);
    const portMappings = [{ protocol: 'tcp', containerPort: 80, hostPort: 18080 }] as const;
    const [a, b] = [makePod('a'), makePod('b')];
    const programs = await host.open('programs');
    await programs.attach({ ...a, portMappings });
    const fast = await host.open('this process', { binDirs: [binDir] });
    await fast.attach({ ...b, portMappings: [{ ...portMappings[0], hostPort: 18081 }] });
    run(
      'ip',
      'netns',
      'exec',
      'pod-b',
      'busybox',
      'ping',
      '-c1',
      '-W2',
      fast.attachmentOf(a.sandboxId)?.ips[0] ?? '',
    );
    await fast.detach(a.sandboxId);
    assert.doesNotMatch(run('nft', 'list', 'ruleset'), /18080/);
    await fast.detach(b.sandboxId);
    assert.deepEqual(host.leases('test'), []);
    assert.deepEqual(linkNames(), ['lo', 'cni77']);
  });
}
