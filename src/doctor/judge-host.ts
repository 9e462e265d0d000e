/** What cgroups, limits, storage and the network's settings mean for pods. Pure. */
import { defaultDriver, type HostCgroups } from '../cgroups/host.ts';
import { findingsOf, type Finding } from './finding.ts';
import type { HostFacts, StorageFacts } from './host-facts.ts';
import { judgePart } from './judge-kernel.ts';

const wantedControllers = ['cpu', 'cpuset', 'memory', 'pids', 'io'];

export function judgeCgroups({
  cgroups,
  systemdRuns,
}: Pick<HostFacts, 'cgroups' | 'systemdRuns'>): Finding[] {
  const finding = findingsOf('cgroups');
  const driver = defaultDriver(cgroups, systemdRuns);
  const controllers = cgroups.layout === 'unified' ? cgroups.controllers : [...cgroups.mounts.keys()];
  // cgroup v1 calls it blkio.
  const missing = wantedControllers.filter(
    (name) => !controllers.includes(name) && !(name === 'io' && controllers.includes('blkio')),
  );
  return [
    cgroups.layout === 'unified'
      ? finding('version', 'ok', `cgroup v2 at ${cgroups.root}`)
      : finding('version', 'warning', legacyText(cgroups)),
    missing.length === 0
      ? finding('controllers', 'ok', wantedControllers.join(', '))
      : finding(
          'controllers',
          missing.includes('memory') || missing.includes('cpu') ? 'problem' : 'warning',
          `${missing.join(', ')} missing: such limits are refused; see cgroup_disable= on the kernel's command line, and DefaultControllers of systemd`,
        ),
    finding(
      'driver',
      'ok',
      `gantryd chooses ${driver} here; the kubelet asks it (RuntimeConfig) and takes the same`,
    ),
  ];
}

function legacyText({ layout }: HostCgroups): string {
  const what = layout === 'hybrid' ? 'cgroup v1, with a cgroup v2 tree that limits nothing' : 'cgroup v1';
  return `${what}: limits go through the OCI runtime, no PSI, no memory.high; kubelets from 1.35 on refuse it unless failCgroupV1 is false. Boot with systemd.unified_cgroup_hierarchy=1`;
}

const capSysResource = 24n;
const capSysAdmin = 21n;
const leastInstances = 1024;
const leastWatches = 65_536;
const leastOpenFiles = 65_536;

type LimitFacts = Pick<
  HostFacts,
  'isRoot' | 'boundingSet' | 'inotifyInstances' | 'inotifyWatches' | 'openFilesHard'
>;

export function judgeLimits(facts: LimitFacts): Finding[] {
  const finding = findingsOf('limits');
  const has = (capability: bigint): boolean => ((facts.boundingSet >> capability) & 1n) === 1n;
  const { inotifyInstances: instances, inotifyWatches: watches, openFilesHard: files } = facts;
  return [
    facts.isRoot
      ? finding('user', 'ok', 'root')
      : finding('user', 'note', 'not root: some of this could not be looked at; run sudo gantry doctor'),
    has(capSysAdmin)
      ? finding('CAP_SYS_ADMIN', 'ok', 'can be had')
      : finding(
          'CAP_SYS_ADMIN',
          'problem',
          'not in the bounding set: gantryd cannot mount or make namespaces here',
        ),
    has(capSysResource)
      ? finding('CAP_SYS_RESOURCE', 'ok', 'can be had')
      : finding(
          'CAP_SYS_RESOURCE',
          'warning',
          'not in the bounding set: oom_score_adj cannot be lowered and limits cannot be raised; containers that ask for it get what the host allows',
        ),
    instances !== undefined && instances < leastInstances
      ? finding(
          'inotify instances',
          'warning',
          `fs.inotify.max_user_instances is ${instances}: beyond it conmon's OOM watch fails without a word, and so do programs in pods; sysctl -w fs.inotify.max_user_instances=8192`,
        )
      : finding('inotify instances', 'ok', `${instances ?? 'unknown'}`),
    watches !== undefined && watches < leastWatches
      ? finding(
          'inotify watches',
          'note',
          `fs.inotify.max_user_watches is ${watches}: sysctl -w fs.inotify.max_user_watches=524288 if programs in pods watch many files`,
        )
      : finding('inotify watches', 'ok', `${watches ?? 'unknown'}`),
    files !== undefined && files < leastOpenFiles
      ? finding(
          'open files',
          'note',
          `the hard limit here is ${files}: enough for hundreds of pods; for more set LimitNOFILE=1048576 in gantryd's unit`,
        )
      : finding('open files', 'ok', `${files ?? 'unknown'}`),
  ];
}

/** File systems that overlayfs cannot have its upper directory on. */
const unfitTypes = ['overlay', 'nfs', 'nfs4', 'cifs', 'smb3', '9p', 'vfat', 'exfat', 'ecryptfs', 'fuse'];
const leastFreeBytes = 2 * 1024 ** 3;
const leastFreeInodes = 100_000;

export function judgeStorage(storage: StorageFacts): Finding[] {
  const finding = findingsOf('storage');
  const { path, type, freeBytes, freeInodes } = storage;
  const gib = (freeBytes / 1024 ** 3).toFixed(1);
  return [
    unfitTypes.some((unfit) => type === unfit || type.startsWith(`${unfit}.`))
      ? finding(
          'file system',
          'problem',
          `${path} is on ${type}, on which overlayfs cannot write: put gantryd's root on ext4, xfs or btrfs (root = "..." in /etc/gantry/config.toml)`,
        )
      : finding('file system', 'ok', `${path} is on ${type}`),
    storage.hasEntryTypes === false
      ? finding(
          'd_type',
          'problem',
          `directories of ${path} do not tell types (d_type), which overlayfs needs: make xfs anew with ftype=1, or use ext4`,
        )
      : finding(
          'd_type',
          'ok',
          storage.hasEntryTypes === undefined ? 'could not be looked at' : 'told by directories',
        ),
    freeBytes < leastFreeBytes
      ? finding(
          'free space',
          'warning',
          `${gib} GiB: images soon do not fit; free some (gantry rmi), or move gantryd's root`,
        )
      : finding('free space', 'ok', `${gib} GiB`),
    // btrfs makes inodes as it needs them, and says 0.
    freeInodes > 0 && freeInodes < leastFreeInodes
      ? finding(
          'free inodes',
          'warning',
          `${freeInodes}: images of many small files do not fit; remove files or images`,
        )
      : finding('free inodes', 'ok', freeInodes > 0 ? `${freeInodes}` : 'made as needed'),
  ];
}

type NetworkFacts = Pick<HostFacts, 'parts' | 'ipForward' | 'bridgeNfCallIptables'>;

export function judgeNetworkSettings({ parts, ipForward, bridgeNfCallIptables }: NetworkFacts): Finding[] {
  const finding = findingsOf('network');
  const refused = (text: string) => ({ verdict: 'problem' as const, text });
  const judged = [
    judgePart('veth', parts.veth, {
      module: 'veth',
      absent: refused('the kernel has no veth links: pods cannot be attached to any bridge'),
    }),
    judgePart('bridge', parts.bridge, {
      module: 'bridge',
      absent: refused('the kernel has no bridges: use a CNI plugin that needs none'),
    }),
    judgePart('nf_tables', parts.nf_tables, {
      module: 'nf_tables',
      absent: refused('the kernel has no nf_tables: host ports and masquerading fail'),
    }),
    judgePart('br_netfilter', parts.br_netfilter, {
      module: 'br_netfilter',
      absent: {
        verdict: 'note',
        text: 'absent: the rules of kube-proxy do not see packets between pods of one bridge',
      },
    }),
  ];
  return [
    ...judged.map((one) => ({ ...one, area: 'network' as const })),
    bridgeNfCallIptables === false
      ? finding(
          'bridge-nf-call-iptables',
          'note',
          'off: a pod that asks a service answered by a pod of its own node may get no reply with kube-proxy; sysctl -w net.bridge.bridge-nf-call-iptables=1',
        )
      : finding(
          'bridge-nf-call-iptables',
          'ok',
          bridgeNfCallIptables === undefined ? 'br_netfilter is not loaded' : 'on',
        ),
    ipForward
      ? finding('forwarding', 'ok', 'net.ipv4.ip_forward is 1')
      : finding(
          'forwarding',
          'note',
          'net.ipv4.ip_forward is 0: gantryd turns it on with the first pod on a bridge; to keep it on, put net.ipv4.ip_forward=1 into /etc/sysctl.d/gantry.conf',
        ),
  ];
}
