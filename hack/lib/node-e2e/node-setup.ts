/** What the suite wants of the node that it runs on, done inside the node's own mount namespace. */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { criuSkipReason } from '../../../test/e2e/engine/criu.ts';

/** The kubelet would be started through systemd where these are on PATH, whether systemd runs or not. */
const systemdTools = ['systemd-run', 'systemctl', 'journalctl'];

/** Prepares the node. `kernelDirectory` holds the VM's kernel and its `config`, where the node is a VM. */
export function prepareNode(kernelDirectory: string | undefined): void {
  hideSystemd();
  showKernelConfig(kernelDirectory);
  receiveOnLink();
  nameUserMappings();
  tellTestHandler();
  giveSwap();
  const noCheckpoints = criuSkipReason();
  if (noCheckpoints !== undefined) console.log(`no checkpoints: ${noCheckpoints}`);
  for (const path of ['/var/lib/kubelet', '/var/log/pods', '/var/log/containers'])
    mkdirSync(path, { recursive: true });
}

/** A file without the execute bit lies over each of them: a search of PATH passes it by. */
function hideSystemd(): void {
  for (const directory of ['/usr/bin', '/bin'])
    for (const tool of systemdTools) {
      const path = join(directory, tool);
      if (existsSync(path)) execFileSync('mount', ['--bind', '/dev/null', path]);
    }
}

/** The suite's system check reads /proc/config.gz or /boot/config-RELEASE. */
function showKernelConfig(kernelDirectory: string | undefined): void {
  if (existsSync('/proc/config.gz') || existsSync(`/boot/config-${release()}`)) return;
  if (kernelDirectory === undefined)
    throw new Error(`the kernel's configuration is neither in /proc/config.gz nor /boot/config-${release()}`);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/boot']);
  copyFileSync(join(kernelDirectory, 'config'), `/boot/config-${release()}`);
}

/** A spec looks for the ids that an administrator has set aside for the kubelet's pods. */
function nameUserMappings(): void {
  appendFileSync('/etc/passwd', 'kubelet:x:999:999::/nonexistent:/bin/false\n');
  for (const file of ['/etc/subuid', '/etc/subgid']) appendFileSync(file, 'kubelet:65536:7208960\n');
}

/** A spec of RuntimeClass runs only where it finds the handler's name in the configuration of one of two engines. */
function tellTestHandler(): void {
  mkdirSync('/etc/containerd', { recursive: true });
  writeFileSync(
    '/etc/containerd/config.toml',
    "# The engine's own configuration has runtimes.test-handler.\n",
  );
}

/**
 * Specs of swap want a node that has some: a VM gets it, on its own disk. In namespaces it would be the machine's, and every
 * process of the machine would use it.
 */
function giveSwap(): void {
  if (process.env['GANTRY_TEST_HOST'] !== 'vm') return;
  const file = '/var/tmp/swap';
  execFileSync('fallocate', ['--length', '1GiB', file]);
  chmodSync(file, 0o600);
  execFileSync('mkswap', ['--quiet', file]);
  execFileSync('swapon', [file]);
}

/** A spec wants the node's link to have received a megabyte; that of a new node has received next to nothing. */
function receiveOnLink(): void {
  const gateway = execFileSync('ip', ['route', 'show', 'default'], { encoding: 'utf8' }).split(' ')[2] ?? '';
  // Where nobody answers, the spec will say so.
  spawnSync('busybox', ['ping', '-c', '30', '-i', '0.05', '-W', '1', '-w', '5', '-s', '60000', gateway]);
}

/**
 * The kubelet's configuration, as JSON, which it takes for YAML. The suite sets what lets it talk to the kubelet. How
 * full this machine's disk is must not decide about a spec: no threshold for disks.
 */
export function writeKubeletConfig(path: string): void {
  writeFileSync(
    path,
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      cgroupRoot: '/',
      cgroupsPerQOS: true,
      cgroupDriver: 'cgroupfs',
      enforceNodeAllocatable: [],
      failCgroupV1: false,
      failSwapOn: false,
      volumeStatsAggPeriod: '10s',
      serializeImagePulls: false,
      fileCheckFrequency: '10s',
      podCIDR: '10.100.0.0/24',
      evictionPressureTransitionPeriod: '30s',
      evictionHard: {
        'memory.available': '250Mi',
        'nodefs.available': '0%',
        'nodefs.inodesFree': '0%',
        'imagefs.available': '0%',
        'imagefs.inodesFree': '0%',
      },
      imageGCHighThresholdPercent: 100,
    }),
  );
}
