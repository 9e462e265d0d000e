import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { examineHost } from './examine.ts';
import type { Finding, Verdict } from './finding.ts';
import type { HostFacts } from './host-facts.ts';
import { judgeDaemon } from './judge-daemon.ts';
import { judgeCgroups, judgeLimits, judgeNetworkSettings, judgeStorage } from './judge-host.ts';
import { judgeKernel } from './judge-kernel.ts';
import { readAvailability } from './kernel-features.ts';
import { judgeNetworkConfiguration, readNetworkConfiguration } from './network-configuration.ts';

const good: HostFacts = {
  release: '6.12.9-amd64',
  isRoot: true,
  parts: {
    overlay: 'present',
    nf_tables: 'present',
    bridge: 'present',
    veth: 'present',
    br_netfilter: 'present',
    vxlan: 'present',
  },
  namespaces: ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'],
  maxUserNamespaces: 10_000,
  seccompActions: ['errno', 'allow'],
  hasApparmor: true,
  hasApparmorParser: true,
  selinux: undefined,
  lowerDirAppend: true,
  hasPressure: true,
  hasSwap: false,
  cgroups: {
    layout: 'unified',
    root: '/sys/fs/cgroup',
    controllers: ['cpu', 'cpuset', 'memory', 'pids', 'io'],
  },
  systemdRuns: true,
  ipForward: true,
  bridgeNfCallIptables: true,
  inotifyInstances: 8192,
  inotifyWatches: 524_288,
  openFilesHard: 1_048_576,
  boundingSet: 0x1ff_ffff_ffffn,
  storage: { path: '/var/lib', type: 'ext4', freeBytes: 50e9, freeInodes: 1e6, hasEntryTypes: true },
};

function judge(facts: HostFacts): Finding[] {
  return [
    ...judgeKernel(facts),
    ...judgeCgroups(facts),
    ...judgeLimits(facts),
    ...judgeStorage(facts.storage),
    ...judgeNetworkSettings(facts),
  ];
}

test('a good host has nothing to be told', () => {
  assert.deepEqual(
    judge(good).filter(({ verdict }) => verdict !== 'ok'),
    [],
  );
});

const v1: HostFacts['cgroups'] = {
  layout: 'hybrid',
  mounts: new Map(
    ['cpu', 'cpuset', 'memory', 'pids', 'blkio'].map((name) => [name, `/sys/fs/cgroup/${name}`]),
  ),
  unifiedRoot: '/sys/fs/cgroup/unified',
};

const lacks: readonly (readonly [Partial<HostFacts>, subject: string, Verdict, RegExp])[] = [
  [{ release: '5.4.0' }, 'version', 'problem', /pidfds and openat2.*update the kernel/],
  [{ release: '5.10.0-8-amd64' }, 'version', 'warning', /mount_setattr/],
  [{ release: '6.1.0-18-amd64' }, 'version', 'ok', /older way, which works/],
  [{ parts: { ...good.parts, overlay: 'absent' } }, 'overlayfs', 'problem', /use another kernel/],
  [{ parts: { ...good.parts, overlay: 'loadable' } }, 'overlayfs', 'note', /modprobe overlay/],
  [{ parts: { ...good.parts, nf_tables: 'absent' } }, 'nf_tables', 'problem', /host ports/],
  [{ parts: { ...good.parts, br_netfilter: 'unknown' } }, 'br_netfilter', 'note', /modprobe br_netfilter/],
  [{ namespaces: ['mnt', 'pid'] }, 'namespaces', 'problem', /no cgroup, ipc, net, uts/],
  [{ maxUserNamespaces: 0 }, 'user namespaces', 'note', /user\.max_user_namespaces/],
  [{ seccompActions: [] }, 'seccomp', 'warning', /RuntimeDefault/],
  [{ hasApparmorParser: false }, 'AppArmor', 'warning', /install the package apparmor/],
  [{ hasApparmor: false }, 'AppArmor', 'note', /neither/],
  [{ hasApparmor: false, selinux: 'permissive' }, 'SELinux', 'note', /setenforce 1/],
  [{ hasPressure: false }, 'pressure', 'note', /psi=1/],
  [{ hasSwap: true }, 'swap', 'note', /failSwapOn/],
  [{ cgroups: v1 }, 'version', 'warning', /^cgroup v1.*unified_cgroup_hierarchy/],
  [
    { cgroups: { layout: 'unified', root: '/', controllers: ['cpu'] } },
    'controllers',
    'problem',
    /cpuset, memory, pids, io/,
  ],
  [{ boundingSet: 0x1ff_feff_ffffn }, 'CAP_SYS_RESOURCE', 'warning', /oom_score_adj/],
  [{ boundingSet: 0n }, 'CAP_SYS_ADMIN', 'problem', /cannot mount/],
  [{ inotifyInstances: 128 }, 'inotify instances', 'warning', /max_user_instances=8192/],
  [{ inotifyWatches: 8192 }, 'inotify watches', 'note', /max_user_watches/],
  [{ openFilesHard: 1024 }, 'open files', 'note', /LimitNOFILE/],
  [{ isRoot: false }, 'user', 'note', /sudo gantry doctor/],
  [{ storage: { ...good.storage, type: 'overlay' } }, 'file system', 'problem', /config\.toml/],
  [{ storage: { ...good.storage, type: 'fuse.sshfs' } }, 'file system', 'problem', /fuse\.sshfs/],
  [{ storage: { ...good.storage, hasEntryTypes: false } }, 'd_type', 'problem', /ftype=1/],
  [{ storage: { ...good.storage, freeBytes: 1e6 } }, 'free space', 'warning', /gantry rmi/],
  [{ storage: { ...good.storage, freeInodes: 10 } }, 'free inodes', 'warning', /remove files/],
  [{ ipForward: false }, 'forwarding', 'note', /sysctl\.d/],
  [{ bridgeNfCallIptables: false }, 'bridge-nf-call-iptables', 'note', /sysctl -w/],
];

for (const [lack, subject, verdict, words] of lacks)
  test(`${JSON.stringify(lack, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)).slice(0, 90)}: ${verdict}`, () => {
    const found = judge({ ...good, ...lack }).filter(
      (finding) => finding.subject === subject && words.test(finding.text),
    );
    assert.deepEqual(
      found.map((finding) => finding.verdict),
      [verdict],
    );
  });

test('the daemon’s conditions are told with their reasons', () => {
  const facts = {
    isReachable: true,
    socket: '/s',
    version: 'gantry 1',
    conditions: [
      { type: 'RuntimeReady', status: true, reason: '', message: '' },
      { type: 'NetworkReady', status: false, reason: 'NetworkPluginNotReady', message: 'no plugin x' },
    ],
  } as const;
  assert.deepEqual(
    judgeDaemon(facts).map(({ verdict, text }) => [verdict, text]),
    [
      ['ok', 'gantry 1 answers on /s'],
      ['ok', 'true'],
      ['problem', 'NetworkPluginNotReady: no plugin x'],
    ],
  );
  assert.equal(judgeDaemon({ isReachable: false, reason: 'gone' })[0]?.verdict, 'problem');
});

test('the network’s configuration is read as the daemon reads it', async (t) => {
  const confDir = mkdtempSync(join(tmpdir(), 'gantry-doctor-'));
  t.after(() => rmSync(confDir, { recursive: true }));
  const examine = async (): Promise<string[]> => {
    const facts = await readNetworkConfiguration({ confDir, binDirs: [join(confDir, 'bin')] });
    return judgeNetworkConfiguration(facts).map(({ verdict, text }) => `${verdict}: ${text}`);
  };
  assert.match((await examine()).join('\n'), /^ok: .* is empty: pods are on Gantry's built-in network/);
  writeFileSync(join(confDir, '10-bad.conflist'), '{"name": "bad"');
  assert.match(
    (await examine()).join('\n'),
    /^warning: .*10-bad\.conflist: not JSON.*\nproblem: no configuration in/s,
  );
  const list = { cniVersion: '1.0.0', name: 'pods', plugins: [{ type: 'flannel', ipam: { type: 'dhcp' } }] };
  writeFileSync(join(confDir, '20-pods.conflist'), JSON.stringify(list));
  assert.match((await examine())[1] ?? '', /^problem: pods of .*: no program for flannel, dhcp in/);
  mkdirSync(join(confDir, 'bin'));
  for (const plugin of ['flannel', 'dhcp']) writeFileSync(join(confDir, 'bin', plugin), '', { mode: 0o755 });
  assert.match((await examine())[1] ?? '', /^ok: .*by the plugins' programs$/);
});

test('parts of the kernel: built in, loaded, loadable, absent', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-kernel-'));
  t.after(() => rmSync(root, { recursive: true }));
  assert.equal(readAvailability('6.1', root).bridge, 'unknown');
  mkdirSync(join(root, 'sys/module/veth'), { recursive: true });
  mkdirSync(join(root, 'lib/modules/6.1'), { recursive: true });
  mkdirSync(join(root, 'proc'));
  const config =
    'CONFIG_OVERLAY_FS=y\nCONFIG_BRIDGE=m\nCONFIG_BRIDGE_NETFILTER=m\n# CONFIG_VXLAN is not set\n';
  writeFileSync(join(root, 'proc/config.gz'), gzipSync(config));
  writeFileSync(join(root, 'lib/modules/6.1/modules.dep'), 'kernel/net/bridge/bridge.ko.xz:\n');
  writeFileSync(join(root, 'lib/modules/6.1/modules.builtin'), 'kernel/net/netfilter/nf_tables.ko\n');
  assert.deepEqual(readAvailability('6.1', root), {
    overlay: 'present',
    nf_tables: 'present',
    bridge: 'loadable',
    veth: 'present',
    br_netfilter: 'absent',
    vxlan: 'absent',
  });
});

test('this very host can be examined, whatever it is', async () => {
  const findings = await examineHost({ dataDirectory: '/nowhere/at/all', confDir: '/nowhere', binDirs: [] });
  assert.deepEqual(
    new Set(findings.map(({ area }) => area)),
    new Set(['kernel', 'cgroups', 'limits', 'storage', 'network', 'programs']),
  );
  for (const { text, subject } of findings)
    assert.ok(text !== '' && !text.includes('undefined'), `${subject}: ${text}`);
});
