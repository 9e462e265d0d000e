/** The files that a pod's containers share: hosts, resolv.conf, hostname, and /dev/shm. */
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname as nodeName } from 'node:os';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { mountTmpfs } from '../linux/mount.ts';
import type { DnsConfig, PodConfig } from './pod-config.ts';
import type { SandboxPaths } from './sandbox.ts';
import { podIds } from './user-namespace.ts';

const shmBytes = 64 * 1024 * 1024;
const readableByAll = 0o644;

/**
 * Makes them; they belong to the root of the pod. With the node's IPC namespace /dev/shm is the node's, and none is mounted
 * here.
 */
export function makeSandboxFiles(paths: SandboxPaths, config: PodConfig, ips: readonly string[]): void {
  const usesNodeNetwork = config.namespaces.network.mode === 'node';
  const hostname = usesNodeNetwork ? nodeName() : (config.hostname ?? nodeName());
  mkdirSync(paths.directory, { recursive: true });
  // Whoever made it first.
  chmodSync(paths.directory, 0o711);
  writeFileSync(paths.hostname, `${hostname}\n`, { mode: readableByAll });
  writeFileSync(paths.hosts, usesNodeNetwork ? readFileSync('/etc/hosts') : hostsText(hostname, ips), {
    mode: readableByAll,
  });
  writeFileSync(
    paths.resolvConf,
    config.dns === undefined ? readFileSync('/etc/resolv.conf') : resolvConfText(config.dns),
    { mode: readableByAll },
  );
  const root = podIds(config)?.hostId ?? 0;
  for (const file of [paths.hostname, paths.hosts, paths.resolvConf]) chownSync(file, root, root);
  if (config.namespaces.ipc.mode === 'node') return;
  mkdirSync(paths.shm, { mode: 0o1777 });
  mountTmpfs({ target: paths.shm, sizeBytes: shmBytes, mode: 0o1777, flags: ['nosuid', 'nodev', 'noexec'] });
  chownSync(paths.shm, root, root);
}

/** hosts(5) of a pod with a network of its own. */
export function hostsText(hostname: string, ips: readonly string[]): string {
  const lines = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
  ];
  return [...lines, ...ips.map((ip) => `${ip}\t${hostname}`), ''].join('\n');
}

/**
 * resolv.conf(5). Limits on how many entries count are the resolver's own business.
 *
 * @throws EngineError invalid-argument for an entry with white space, which would add a line of its own
 */
export function resolvConfText({ servers, searches, options }: DnsConfig): string {
  for (const [field, entries] of Object.entries({ servers, searches, options })) {
    const bad = entries.find((entry) => /\s/.test(entry));
    if (bad !== undefined)
      throw new EngineError('invalid-argument', `dns_config.${field}: ${quote(bad)} has white space in it`);
  }
  const lines = servers.map((server) => `nameserver ${server}`);
  if (searches.length > 0) lines.push(`search ${searches.join(' ')}`);
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return lines.map((line) => `${line}\n`).join('');
}
