import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { NetworkList } from '../cni/network-list.ts';
import { delNetwork, type CniDeps } from '../cni/network-operations.ts';
import { gcNetwork, mayStay } from '../cni/network-upkeep.ts';
import type { CachedAttachment } from '../cni/result-cache.ts';
import { errnoOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { isDefaultNetworkName } from './default-network.ts';
import { removeBridge, unusedBridgeNames } from './host-links.ts';
import { discardUnused, sweepLeases } from './leases.ts';

export interface GarbageDeps {
  readonly cni: CniDeps;
  readonly cacheDir: string;
  readonly log: Log;
}

export interface GarbageArgs {
  /** The network of the next pod; undefined when there is none. */
  readonly current: NetworkList | undefined;
  readonly isValid: (attachment: CachedAttachment) => boolean;
  readonly validSandboxIds: ReadonlySet<string>;
  readonly signal?: AbortSignal | undefined;
}

/** Undoes and removes what belongs to nobody. Goes on after failures, which are logged. */
export async function collectNetworkGarbage(deps: GarbageDeps, args: GarbageArgs): Promise<void> {
  const { cni, log } = deps;
  const { current, isValid, signal } = args;
  const failures: unknown[] = [];
  const note = (error: unknown): void => void failures.push(error);
  // Seen before their records go: their networks are ours to sweep.
  const ours = cni.attachments.all().filter(({ implementation }) => implementation !== undefined);
  for (const attachment of ours) {
    if (isValid(attachment) || attachment.networkName === current?.name) continue;
    await delNetwork(cni, { attachment, signal }).catch(note);
  }
  if (current !== undefined) {
    const left = await gcNetwork(cni, { list: current, isValid, signal }).catch((error: unknown) => [error]);
    failures.push(...left);
  }
  const names = new Set(ours.map(({ networkName }) => networkName));
  await sweep(deps, args, names).catch(note);
  for (const error of failures) log.warn({ err: error }, 'network garbage is left for the next start');
}

async function sweep(deps: GarbageDeps, args: GarbageArgs, names: Set<string>): Promise<void> {
  const { cni, cacheDir, log } = deps;
  const { current, isValid, validSandboxIds, signal } = args;
  const dataDir = cni.pluginDeps.dataDir ?? join(cacheDir, 'networks');
  const present = await namesIn(dataDir);
  for (const name of present.filter(isDefaultNetworkName)) names.add(name);
  if (current !== undefined) names.add(current.name);
  await cni.gate.alone(signal, async () => {
    const known = new Set(validSandboxIds);
    for (const attachment of cni.attachments.all()) {
      // A record that could not be undone keeps its lease until it can.
      if (attachment.implementation !== undefined || (await mayStay(attachment, isValid)))
        known.add(attachment.containerId);
    }
    for (const name of names) {
      const directory = join(name === current?.name ? (leaseDirectory(current) ?? dataDir) : dataDir, name);
      const leases = await sweepLeases(directory, (id) => known.has(id), isDefaultNetworkName(name));
      if (leases.length > 0)
        log.info({ network: name, leases }, 'addresses of unknown containers given back');
    }
    for (const name of present) if (!names.has(name)) await discardUnused(join(dataDir, name));
    for (const plugin of cni.inProcess) await plugin.sweep?.(cni.pluginDeps, known);
    await removeBuiltInBridges(deps, current);
  });
}

/** Those that the bridge's program made for the built-in network: it keeps no record of them. */
async function removeBuiltInBridges(
  { cni, log }: GarbageDeps,
  current: NetworkList | undefined,
): Promise<void> {
  const inUse = new Set(cni.attachments.all().map(({ networkName }) => networkName));
  for (const name of await unusedBridgeNames(cni.pluginDeps.route)) {
    if (!isDefaultNetworkName(name) || inUse.has(name) || current?.document.includes(`"${name}"`) === true)
      continue;
    await removeBridge(cni.pluginDeps.route, name);
    log.info({ bridge: name }, 'unused bridge of the built-in network removed');
  }
}

/** The directory that the list gives to host-local, when it gives one. */
function leaseDirectory(list: NetworkList): string | undefined {
  for (const { ipam } of list.plugins) {
    if (typeof ipam !== 'object' || ipam === null || !('dataDir' in ipam)) continue;
    if (typeof ipam.dataDir === 'string' && ipam.dataDir !== '') return ipam.dataDir;
  }
  return undefined;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
