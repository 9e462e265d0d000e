/**
 * The pods' network: which one it is, who is attached to it, whether it is ready, and what is given back when its
 * owner is gone. The attachments recorded in the CNI cache are the truth; they survive the daemon.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fastPathObstacle } from '../cni/plugin-chain.ts';
import { hasCapability, type NetworkList } from '../cni/network-list.ts';
import { addNetwork, delNetwork, type CniDeps } from '../cni/network-operations.ts';
import { checkNetwork, statusNetwork } from '../cni/network-upkeep.ts';
import { PluginVersions } from '../cni/exec-plugin.ts';
import { OperationGate } from '../cni/operation-gate.ts';
import type { CniResult, InProcessPlugin, PluginDeps } from '../cni/plugin-types.ts';
import { runDirOf } from '../cni/plugins/made-links.ts';
import { AttachmentCache, type CachedAttachment } from '../cni/result-cache.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { podArgs, podCapabilityArgs, type AttachRequest } from './attachment-args.ts';
import { collectNetworkGarbage } from './collect-garbage.ts';
import { ConfiguredNetwork } from './configured-network.ts';
import { DefaultNetwork } from './default-network.ts';
import { removeBridge, usedPrefixes } from './host-links.ts';

export interface NetworksOptions {
  /** The plugins of this process. */
  readonly plugins: readonly InProcessPlugin[];
  readonly pluginDeps: PluginDeps;
  /** Watched, such as `/etc/cni/net.d`. */
  readonly confDir: string;
  /** Searched for plugins' programs, in order. */
  readonly binDirs: readonly string[];
  /** Results (`results/`) and leases (`networks/`), such as `/var/lib/cni`. */
  readonly cacheDir: string;
  /** Rendered into `confDir` when the pod CIDR is known. */
  readonly templatePath?: string | undefined;
  /**
   * Of the built-in network: one of each family at most, separated by commas. Default 10.88.0.0/16. Empty: there is no
   * built-in network, and pods wait for a configuration, as a node wants whose network is installed from the cluster.
   */
  readonly defaultSubnets?: string | undefined;
  /** For one call of a plugin's program. Default 90 seconds. */
  readonly pluginTimeoutMs?: number;
  readonly log: Log;
}

/** Where a pod is attached. */
export interface PodAttachment {
  /** In the order that the network gave them; the first is the pod's primary address. */
  readonly ips: readonly string[];
  readonly interfaceName: string;
}

/** As CRI's condition NetworkReady wants it. `reason` and `message` are empty when it is ready. */
export interface NetworkStatus {
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
}

const interfaceName = 'eth0';
const defaultPluginTimeoutMs = 90_000;
const statusTimeoutMs = 10_000;
const statusKeptMs = 5000;

/** Loads the attachments and the configuration, and begins to watch it. */
export async function openNetworks(options: NetworksOptions, signal?: AbortSignal): Promise<Networks> {
  await makeDirectories(options);
  const attachments = await AttachmentCache.open(options.cacheDir);
  signal?.throwIfAborted();
  for (const fault of attachments.faults)
    options.log.warn({ fault }, 'a record of a network attachment is not usable');
  return new Networks(options, attachments);
}

export class Networks implements AsyncDisposable {
  readonly #options: NetworksOptions;
  readonly #cni: CniDeps;
  readonly #network: ConfiguredNetwork;
  /** Attachments of a daemon before this one: only those can be garbage. */
  readonly #inherited: ReadonlySet<CachedAttachment>;
  #status: { readonly endsAtMs: number; readonly verdict: Promise<NetworkStatus> } | undefined;

  /** Use openNetworks. */
  constructor(options: NetworksOptions, attachments: AttachmentCache) {
    const { cacheDir, pluginDeps, binDirs, log } = options;
    this.#options = options;
    this.#cni = {
      binDirs,
      inProcess: options.plugins,
      pluginDeps,
      versions: new PluginVersions(),
      timeoutMs: options.pluginTimeoutMs ?? defaultPluginTimeoutMs,
      gate: new OperationGate(),
      attachments,
      onLeftBehind: (error) =>
        log.warn({ error: messageOf(error) }, 'what a network without pods had is left for the next start'),
    };
    this.#inherited = new Set(attachments.all());
    const builtIn = new DefaultNetwork({
      cacheDir,
      subnets: options.defaultSubnets,
      usedPrefixes: async () => await usedPrefixes(pluginDeps.route),
      inUse: () => attachments.all(),
      alone: async (signal, work) => await this.#cni.gate.alone(signal, work),
      discardBridge: async (name) => await removeBridge(pluginDeps.route, name),
    });
    const { confDir, templatePath } = options;
    const defaultNetwork = options.defaultSubnets === '' ? undefined : builtIn;
    this.#network = new ConfiguredNetwork({
      confDir,
      templatePath,
      defaultNetwork,
      log,
      onChange: () => (this.#status = undefined),
      slowBecause: (list) => fastPathObstacle(this.#cni, list),
    });
  }

  /**
   * Attaches a pod as `eth0`. What was begun is undone when this throws.
   *
   * @throws EngineError unavailable when no network is ready, and what its plugins throw
   */
  async attach(request: AttachRequest, signal?: AbortSignal): Promise<PodAttachment> {
    const list = await this.#network.current();
    const attachment = {
      containerId: request.sandboxId,
      netnsPath: request.netnsPath,
      ifName: interfaceName,
      cniArgs: podArgs(request),
      capabilityArgs: podCapabilityArgs(request),
    };
    this.#warnOfPorts(request, list);
    const result = await addNetwork(this.#cni, {
      list: async () => await this.#network.current(),
      attachment,
      signal,
    });
    const ips = podIps(result);
    if (ips.length > 0) return { ips, interfaceName };
    await this.detach(request.sandboxId);
    throw new EngineError(
      'internal',
      `network ${list.name} gave pod sandbox ${request.sandboxId} no address`,
    );
  }

  /** Detaches a pod from all its networks. Idempotent; works without its namespace. @throws PluginError */
  async detach(sandboxId: string): Promise<void> {
    const failures: unknown[] = [];
    for (const attachment of this.#cni.attachments.ofContainer(sandboxId).toReversed()) {
      try {
        await delNetwork(this.#cni, { attachment, current: await this.#currentOrNone() });
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 0) return;
    const { kind } = EngineError.from(failures[0]);
    throw new EngineError(kind, `detach pod sandbox ${sandboxId}: ${failures.map(messageOf).join('; ')}`, {
      cause: failures[0],
    });
  }

  /** Where a pod is attached; undefined when it is not, or not entirely. */
  attachmentOf(sandboxId: string): PodAttachment | undefined {
    const found = this.#cni.attachments.ofContainer(sandboxId).find(({ ifName }) => ifName === interfaceName);
    return found?.result === undefined ? undefined : { ips: podIps(found.result), interfaceName };
  }

  /** Asks the plugins whether a pod is still attached as it was. @throws EngineError not-found, PluginError */
  async check(sandboxId: string, signal?: AbortSignal): Promise<void> {
    const attachments = this.#cni.attachments.ofContainer(sandboxId);
    if (attachments.length === 0)
      throw new EngineError('not-found', `pod sandbox ${sandboxId} has no network attachment`);
    for (const attachment of attachments) {
      await checkNetwork(this.#cni, { attachment, signal });
    }
  }

  /** Whether the next pod can be attached. Never throws; a good verdict is kept for five seconds. */
  async status(): Promise<NetworkStatus> {
    const kept = this.#status;
    if (kept !== undefined && kept.endsAtMs > performance.now()) return await kept.verdict;
    const verdict = this.#askStatus();
    this.#status = { endsAtMs: performance.now() + statusKeptMs, verdict };
    const status = await verdict;
    if (!status.ready && this.#status?.verdict === verdict) this.#status = undefined;
    return status;
  }

  /** The node's pod CIDRs, as the kubelet announces them. @throws EngineError invalid-argument */
  async setPodCidr(cidrs: readonly string[], signal?: AbortSignal): Promise<void> {
    await this.#network.setPodCidr(cidrs, signal);
  }

  /**
   * At the daemon's start: undoes the attachments of sandboxes that are not there any more, lets plugins collect theirs,
   * gives back leases that nothing names, and removes bridges of the built-in network that nobody uses. What cannot be
   * undone is logged and tried again at the next start.
   */
  async collectGarbage(validSandboxIds: Iterable<string>, signal?: AbortSignal): Promise<void> {
    const valid = new Set(validSandboxIds);
    const { cacheDir, log } = this.#options;
    await collectNetworkGarbage(
      { cni: this.#cni, cacheDir, log },
      {
        current: await this.#currentOrNone(),
        validSandboxIds: valid,
        isValid: (attachment) => valid.has(attachment.containerId) || !this.#inherited.has(attachment),
        signal,
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#network[Symbol.dispose]();
  }

  async #askStatus(): Promise<NetworkStatus> {
    try {
      const list = await this.#network.current();
      await statusNetwork({ ...this.#cni, timeoutMs: statusTimeoutMs }, { list });
      return { ready: true, reason: '', message: '' };
    } catch (error) {
      return { ready: false, reason: 'NetworkPluginNotReady', message: messageOf(error) };
    }
  }

  async #currentOrNone(): Promise<NetworkList | undefined> {
    try {
      return await this.#network.current();
    } catch {
      return undefined;
    }
  }

  /** Some networks open host ports by watching the API server instead: this is no error. */
  #warnOfPorts({ sandboxId, portMappings }: AttachRequest, list: NetworkList): void {
    const ports = portMappings.map(({ hostPort }) => hostPort ?? 0).filter((port) => port > 0);
    if (ports.length === 0 || hasCapability(list, 'portMappings')) return;
    this.#options.log.warn(
      { sandboxId, network: list.name, ports },
      'no plugin of the network opens host ports',
    );
  }
}

/** Of the daemon and not of a pod: what pods put there goes with them, the directories themselves stay. */
async function makeDirectories({ cacheDir, pluginDeps, log }: NetworksOptions): Promise<void> {
  try {
    await mkdir(join(cacheDir, 'results'), { recursive: true, mode: 0o700 });
    await mkdir(pluginDeps.dataDir ?? join(cacheDir, 'networks'), { recursive: true, mode: 0o755 });
    await mkdir(runDirOf(pluginDeps), { recursive: true, mode: 0o700 });
  } catch (error) {
    // Whoever needs them says so.
    log.debug({ error: messageOf(error) }, 'the directories of the network attachments cannot be made yet');
  }
}

/** The addresses of the pod's interface, without their prefix lengths; of all interfaces when the plugins do not say. */
function podIps({ ips, interfaces }: CniResult): string[] {
  const own = ips.filter((ip) => {
    const link = ip.interface === undefined ? undefined : interfaces[ip.interface];
    return link?.name === interfaceName && (link.sandbox ?? '') !== '';
  });
  return (own.length > 0 ? own : ips).map(({ address }) => address.split('/')[0] ?? address);
}
