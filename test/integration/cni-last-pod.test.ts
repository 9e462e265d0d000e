/**
 * With its last pod goes what was made for a network as a whole: bridge, addresses, rules, lease directory. What somebody
 * else made stays, and no pod ever loses its bridge to another one that leaves. Needs root.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { createInProcessPlugins } from '../../src/cni/plugins/in-process-plugins.ts';
import { openNetworks, type Networks } from '../../src/networks/networks.ts';
import { json } from '../fixtures/cni-observe.ts';
import { isOnStage, prepareStage, runOnStage, stageDeps, type StageDeps } from '../fixtures/cni-stage.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

const confDir = '/run/net.d';
const cacheDir = '/var/lib/cni';
const rounds = Number(process.env['GANTRY_TEST_ROUNDS'] ?? 120);
const workerRounds = Math.ceil(rounds / 10);

let deps: StageDeps;

const run = (...argv: readonly [string, ...string[]]): string =>
  execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' });

async function open(t: TestContext): Promise<Networks> {
  const networks = await openNetworks({
    plugins: createInProcessPlugins(),
    pluginDeps: deps,
    confDir,
    binDirs: [],
    cacheDir,
    log: pino({ enabled: false }),
  });
  t.after(async () => await networks[Symbol.asyncDispose]());
  return networks;
}

function configure(bridge: object = {}, ipam: object = {}): void {
  const plugin = { type: 'bridge', bridge: 'cni77', isGateway: true, ipMasq: true, ...bridge };
  const addresses = { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }]], ...ipam };
  mkdirSync(confDir, { recursive: true });
  writeFileSync(
    join(confDir, '10-test.conflist'),
    JSON.stringify({
      cniVersion: '1.0.0',
      name: 'test',
      plugins: [
        { ...plugin, ipam: addresses },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    }),
  );
}

interface Pod extends Disposable {
  readonly netns: ThrowawayNetns;
  readonly request: Parameters<Networks['attach']>[0];
}

function makePod(name: string, hostPort = 0): Pod {
  const netns = new ThrowawayNetns();
  const sandboxId = Buffer.from(name).toString('hex').padEnd(64, '0');
  const portMappings = hostPort === 0 ? [] : [{ protocol: 'tcp', containerPort: 80, hostPort } as const];
  const request = {
    sandboxId,
    netnsPath: netns.path,
    pod: { name, namespace: 'default', uid: name },
    portMappings,
  };
  let isThere = true;
  return {
    netns,
    request,
    [Symbol.dispose]: () => {
      if (isThere) netns[Symbol.dispose]();
      isThere = false;
    },
  };
}

/** Everything that a network has on this host. */
function present(): unknown {
  const files = (directory: string): string[] => readdirSync(directory, { recursive: true }).map(String);
  return {
    links: (JSON.parse(run('ip', '-j', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname).sort(),
    routes: [run('ip', '-4', 'route', 'show', 'table', 'all'), routesOfIpv6()],
    rules: run('nft', 'list', 'ruleset'),
    files: [...files(cacheDir), ...files('/run').filter((path) => !path.startsWith('net'))].sort(),
  };
}

/** Without those that the kernel adds to each link once it has looked for duplicates of its link-local address: a second or two later. */
function routesOfIpv6(): readonly string[] {
  const lines = run('ip', '-6', 'route', 'show', 'table', 'all').split('\n');
  return lines.filter((line) => !/\b(?:fe80|ff00)::/.test(line));
}

const hasLink = (name: string): boolean => existsSync(`/proc/sys/net/ipv4/conf/${name}`);

function filtersVlans(): boolean {
  const probe = ['link', 'add', 'cni78', 'type', 'bridge', 'vlan_filtering', '1'];
  const isMade = spawnSync('ip', probe, { stdio: 'ignore' }).status === 0;
  if (isMade) run('ip', 'link', 'del', 'cni78');
  return isMade;
}

/** Ends what a test left, for the next one. */
function clean(): void {
  rmSync(confDir, { recursive: true, force: true });
  for (const name of ['cni77', 'cni78', 'gantry0', 'stranger'])
    spawnSync('ip', ['link', 'del', name], { stdio: 'ignore' });
  run('nft', 'flush', 'ruleset');
  for (const path of [cacheDir, '/run/gantry'])
    if (existsSync(path)) for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true });
}

const networks: Record<string, (() => void) | undefined> = {
  'the built-in network': undefined,
  'a configured network': configure,
  'a configured network of both families on a VLAN': () =>
    configure(
      { vlan: 7, macspoofchk: true },
      { ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/64' }]] },
    ),
};

if (isOnStage()) {
  before(async () => {
    prepareStage();
    mkdirSync('/run/gantry/cni', { recursive: true });
    deps = await stageDeps();
  });
  after(async () => await deps[Symbol.asyncDispose]());

  for (const [name, prepare] of Object.entries(networks)) {
    test(`nothing is left of ${name} when its last pod has gone, whoever was the daemon`, async (t) => {
      clean();
      if (name.includes('VLAN') && !filtersVlans()) return t.skip('this kernel has no bridge VLAN filtering');
      prepare?.();
      const daemon = await open(t);
      await daemon.status();
      const empty = present();
      using one = makePod('one', 8080);
      using two = makePod('two');
      const [first] = await Promise.all([daemon.attach(one.request), daemon.attach(two.request)]);
      assert.notDeepEqual(present(), empty);
      await daemon.detach(one.request.sandboxId);
      const [gateway = ''] = first.ips.map((ip) => ip.replace(/\d+$/, '1'));
      two.netns.run('busybox', 'ping', '-c1', '-W3', gateway);
      const later = await open(t);
      await later.detach(two.request.sandboxId);
      assert.deepEqual(present(), empty);
    });
  }

  test('an address rests also when the network was gone in between', async (t) => {
    clean();
    const daemon = await open(t);
    const given: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      using pod = makePod('again');
      given.push(...(await daemon.attach(pod.request)).ips);
      await daemon.detach(pod.request.sandboxId);
    }
    assert.deepEqual(given, ['10.88.0.2', '10.88.0.3', '10.88.0.4']);
  });

  test('a bridge and a lease directory that were there before stay as they were', async (t) => {
    clean();
    configure();
    run('ip', 'link', 'add', 'cni77', 'type', 'bridge');
    mkdirSync(join(cacheDir, 'networks/test'), { recursive: true });
    writeFileSync(join(cacheDir, 'networks/test/lock'), '');
    const daemon = await open(t);
    using pod = makePod('one');
    await daemon.attach(pod.request);
    await daemon.detach(pod.request.sandboxId);
    await (await open(t)).collectGarbage([]);
    assert.ok(hasLink('cni77'));
    assert.deepEqual(readdirSync(join(cacheDir, 'networks/test')), ['last_reserved_ip.0', 'lock']);
  });

  test('a bridge that somebody else uses stays until nobody does', async (t) => {
    clean();
    configure();
    const daemon = await open(t);
    using pod = makePod('one');
    await daemon.attach(pod.request);
    // A port of another engine: its far end is in a namespace that it shares with nobody.
    run('ip', 'link', 'add', 'stranger', 'master', 'cni77', 'type', 'veth', 'peer', 'name', 'far');
    await daemon.detach(pod.request.sandboxId);
    assert.ok(hasLink('cni77'));
    run('ip', 'link', 'del', 'stranger');
    // A link that stands on the bridge without being its port.
    await daemon.attach(pod.request);
    run('ip', 'link', 'add', 'stranger', 'link', 'cni77', 'type', 'macvlan');
    await daemon.detach(pod.request.sandboxId);
    assert.ok(hasLink('cni77'));
    run('ip', 'link', 'del', 'stranger');
    await daemon.attach(pod.request);
    await daemon.detach(pod.request.sandboxId);
    assert.ok(!hasLink('cni77'));
  });

  test('a bridge that somebody else made anew under the same name is not taken for ours', async (t) => {
    clean();
    configure();
    const daemon = await open(t);
    using pod = makePod('one');
    await daemon.attach(pod.request);
    run('ip', 'link', 'del', 'cni77');
    run('ip', 'link', 'add', 'cni77', 'type', 'bridge');
    await daemon.detach(pod.request.sandboxId);
    assert.ok(hasLink('cni77'));
    assert.equal(existsSync('/run/gantry/cni/links'), false);
  });

  test('an ADD that fails leaves no bridge, rule or lease directory', async (t) => {
    clean();
    configure();
    const daemon = await open(t);
    const empty = present();
    using pod = makePod('one');
    run('ip', '-n', pod.netns.path.replace('/run/netns/', ''), 'link', 'add', 'eth0', 'type', 'bridge');
    await assert.rejects(daemon.attach(pod.request), /interface eth0 is in the container's namespace/);
    assert.deepEqual(present(), empty);
  });

  test('what a crash between the last DEL and the end of the network left goes with the next start', async (t) => {
    clean();
    const daemon = await open(t);
    const empty = present();
    using pod = makePod('one', 8080);
    await daemon.attach(pod.request);
    // The record is lost, and the pod gone: nobody names the address, the rules or the bridge any more.
    unlinkSync(join(cacheDir, 'results', `gantry0-${pod.request.sandboxId}-eth0`));
    pod.netns.run('ip', 'link', 'del', 'eth0');
    configure();
    const other = await open(t);
    await other.collectGarbage([]);
    assert.deepEqual(present(), empty);
    // Of a network that was configured and is not any more.
    using second = makePod('two');
    await other.attach(second.request);
    unlinkSync(join(cacheDir, 'results', `test-${second.request.sandboxId}-eth0`));
    second.netns.run('ip', 'link', 'del', 'eth0');
    unlinkSync(join(cacheDir, 'networks/test/10.77.0.2'));
    rmSync(confDir, { recursive: true });
    await (await open(t)).collectGarbage([]);
    assert.deepEqual(present(), empty);
  });

  test('the rules of pods that are there outlive the sweep of a start', async (t) => {
    clean();
    configure({ macspoofchk: true });
    const daemon = await open(t);
    using pod = makePod('one', 8080);
    await daemon.attach(pod.request);
    const withPod = present();
    rmSync(confDir, { recursive: true });
    await (await open(t)).collectGarbage([pod.request.sandboxId]);
    assert.deepEqual(present(), withPod);
    await (await open(t)).detach(pod.request.sandboxId);
  });

  test(`a pod that comes while the last one goes, ${rounds} times: it never loses its bridge`, async (t) => {
    clean();
    // Without rules, which each start a process: what is left is the bridge, and the way to it is short.
    configure({ ipMasq: false });
    const daemon = await open(t);
    const empty = present();
    using one = makePod('one');
    using two = makePod('two');
    const bridges = new Set<unknown>();
    let [there, next] = [one.request, two.request];
    await daemon.attach(there);
    for (let round = 0; round < rounds; round += 1) {
      const going = daemon.detach(there.sandboxId);
      await delay((round % 40) / 2);
      await Promise.all([going, daemon.attach(next)]);
      await daemon.check(next.sandboxId);
      [there, next] = [next, there];
      bridges.add(json('ip', '-j', 'link', 'show', 'cni77')[0]?.['ifindex']);
    }
    await daemon.detach(there.sandboxId);
    assert.deepEqual(present(), empty);
    t.diagnostic(`${bridges.size} bridges`);
  });

  test(`pods that come and go at once, ${workerRounds} rounds: nothing stays`, async (t) => {
    clean();
    const daemon = await open(t);
    const empty = present();
    const live = async (worker: number): Promise<void> => {
      for (let round = 0; round < workerRounds; round += 1) {
        using pod = makePod(`w${worker}-${round}`, worker === 0 ? 8080 : 0);
        await daemon.attach(pod.request);
        await daemon.check(pod.request.sandboxId);
        // Every other one loses its namespace first, as a pod does that died.
        if (round % 2 === 1) pod[Symbol.dispose]();
        await daemon.detach(pod.request.sandboxId);
      }
    };
    await Promise.all([0, 1, 2].map(live));
    assert.deepEqual(present(), empty);
  });
} else {
  test('what belongs to a network as a whole goes with its last pod', () => {
    assert.equal(runOnStage(import.meta.filename), 0);
  });
}
