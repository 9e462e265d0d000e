/**
 * Pods on a Linux bridge, in-process: the configuration, results, links, addresses and routes of the bridge program.
 * Masquerading and the check of MAC addresses are ours: rules made once a network, not once a pod.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { EngineError } from '../../lib/errors.ts';
import { requirePrefix } from '../../lib/ip-address.ts';
import { KeyedLock } from '../../lib/keyed-lock.ts';
import { getLink, setLink } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import type {
  CniDns,
  CniInterface,
  CniResult,
  InProcessPlugin,
  PluginDeps,
  PluginRequest,
  ValidAttachment,
} from '../plugin-types.ts';
import { checkAttachment } from './bridge-check.ts';
import { parseBridgeConfig, unknownBridgeKey, type BridgeConfig } from './bridge-config.ts';
import { connectPod, ensureBridge, ensureGateway } from './bridge-host.ts';
import { completeAddresses, configurePod, requirePodLink } from './bridge-pod.ts';
import { deleteHostLink, deleteIfThere } from './delete-link.ts';
import { runDirOf } from './made-links.ts';
import { Masquerade, type Member } from './masquerade.ts';
import { isLabelOfAny, networkSuffix, ownerLabel } from './owner-label.ts';
import { openPod, openPodIfThere, requireNetns } from './pod-link.ts';
import { SpoofCheck } from './spoof-check.ts';
import { recordedBridges, removeUnusedBridge } from './unused-bridge.ts';
import { ensureVlanLink, vlanLinkName } from './vlan-link.ts';

const carrierPausesMs = [0, 1, 5, 20, 50, 100, 250, 500, 1000];

export class BridgePlugin implements InProcessPlugin {
  readonly type = 'bridge';
  readonly #ipam: InProcessPlugin;
  readonly #masquerade = new Masquerade();
  readonly #spoofCheck = new SpoofCheck();
  /**
   * A bridge is not taken away between being found and getting its port, and one pod alone gives it the gateway's address: a
   * second would give it the MAC address that it saw, and pods that know the first would lose their gateway.
   */
  readonly #bridges = new KeyedLock<string>();

  /** `ipam` is the one IPAM plugin that exists in-process. */
  constructor(ipam: InProcessPlugin) {
    this.#ipam = ipam;
  }

  supports(config: Readonly<Record<string, unknown>>): string | undefined {
    const key = unknownBridgeKey(config);
    const type = ipamTypeOf(config);
    if (key !== undefined || type === '') return key;
    if (type !== this.#ipam.type) return `ipam.type=${type}`;
    const ipamKey = this.#ipam.supports(config);
    return ipamKey === undefined ? undefined : `ipam.${ipamKey}`;
  }

  /** What DEL would not find is undone before an error is thrown, but for the bridge, which belongs to all: `release` takes it. */
  async add(deps: PluginDeps, request: PluginRequest): Promise<CniResult> {
    const config = parseBridgeConfig(request);
    const netnsPath = requireNetns(request);
    // A fault in the configuration is found before anything is made.
    if (config.hasAddresses) await this.#ipam.status?.(deps, request.config);
    await using undo = new AsyncDisposableStack();
    using pod = await openPod(deps, netnsPath);
    const { bridge, host } = await this.#bridges.run(config.bridge, undefined, async () => {
      const found = await ensureBridge(deps, config);
      const args = { bridge: found, netnsPath, ifName: request.ifName };
      return { bridge: found, host: await connectPod(deps, config, args) };
    });
    undo.defer(async () => await deleteHostLink(deps, host.index));
    const link = await requirePodLink(pod, request.ifName);
    if (config.macspoofchk) {
      const label = labelOf(config, request);
      undo.defer(async () => await this.#spoofCheck.remove((each) => each === label));
      await this.#spoofCheck.add({ link: host.name, mac: link.mac ?? '', label });
    }
    const result = emptyResult(bridge, host, { name: link.name, mac: link.mac, netnsPath });
    if (config.hasAddresses) {
      undo.defer(async () => await this.#ipam.del(deps, request));
      const ipam = await this.#ipam.add(deps, request);
      const { ips, routes, gateways } = completeAddresses(config, ipam);
      Object.assign(result, { ips, routes, dns: ipam.dns });
      await configurePod(deps, config, { pod, netnsPath, link, ips, routes });
      if (config.isGateway) {
        await this.#bridges.run(config.bridge, undefined, async () => {
          await this.#setUpGateway(deps, config, { bridge, gateways, result });
        });
      }
      if (config.ipMasq) {
        undo.defer(async () => await this.#masquerade.remove(runDirOf(deps), memberOf(config, request)));
        const addresses = ips.map(({ address }) => requirePrefix(address, 'address'));
        await this.#masquerade.add(runDirOf(deps), memberOf(config, request), addresses);
      }
    } else if (!config.disableContainerInterface) {
      await setLink(pod, { index: link.index, up: true });
    }
    const port = await (config.disableContainerInterface
      ? getLink(deps.route, host.name)
      : untilUp(deps, host.name));
    const present = await getLink(deps.route, config.bridge);
    // A bridge without an address of its own changes its MAC address with its ports.
    result.interfaces.splice(0, 2, describe(config.bridge, present?.mac), describe(host.name, port?.mac));
    if (hasDns(config.dns)) result.dns = withoutEmpty(config.dns);
    undo.move();
    return result;
  }

  async del(deps: PluginDeps, request: PluginRequest): Promise<void> {
    const config = parseBridgeConfig(request);
    const pod = await openPodIfThere(deps, request.netnsPath);
    try {
      const link = pod === undefined ? undefined : await getLink(pod, request.ifName);
      if (pod !== undefined && link !== undefined) await deleteIfThere(deps, pod, link.index);
      if (pod === undefined) await this.#removeStrayPort(deps, config, request);
    } finally {
      pod?.[Symbol.dispose]();
    }
    if (config.hasAddresses) await this.#ipam.del(deps, request);
    if (config.macspoofchk) {
      const label = labelOf(config, request);
      await this.#spoofCheck.remove((each) => each === label);
    }
    if (config.ipMasq) await this.#masquerade.remove(runDirOf(deps), memberOf(config, request));
  }

  async check(deps: PluginDeps, request: PluginRequest): Promise<void> {
    const config = parseBridgeConfig(request);
    const netnsPath = requireNetns(request);
    const { prevResult: result, ifName } = request;
    if (result === undefined) throw new EngineError('invalid-argument', 'CHECK needs the result of ADD');
    if (config.hasAddresses) await this.#ipam.check(deps, request);
    using pod = await openPod(deps, netnsPath);
    await checkAttachment({ config, route: deps.route, pod, result, netnsPath, ifName });
    if (config.ipMasq)
      await this.#masquerade.check(result.ips.map(({ address }) => requirePrefix(address, 'address')));
  }

  async status(deps: PluginDeps, config: Readonly<Record<string, unknown>>): Promise<void> {
    const { hasAddresses } = parseBridgeConfig({ config, args: {} });
    if (hasAddresses) await this.#ipam.status?.(deps, config);
  }

  async gc(
    deps: PluginDeps,
    config: Readonly<Record<string, unknown>>,
    valid: readonly ValidAttachment[],
  ): Promise<void> {
    const parsed = parseBridgeConfig({ config, args: {} });
    if (parsed.hasAddresses) await this.#ipam.gc?.(deps, config, valid);
    const isValid = (containerId: string, ifName: string): boolean =>
      valid.some(({ containerID, ifname }) => containerID === containerId && ifname === ifName);
    if (parsed.ipMasq) await this.#masquerade.removeInvalid(runDirOf(deps), parsed.name, isValid);
    if (!parsed.macspoofchk) return;
    const labels = new Set(valid.map((each) => ownerLabel(parsed.name, each.containerID, each.ifname)));
    const suffix = networkSuffix(parsed.name);
    await this.#spoofCheck.remove((label) => label.endsWith(suffix) && !labels.has(label));
  }

  async release(deps: PluginDeps, config: Readonly<Record<string, unknown>>): Promise<void> {
    const parsed = parseBridgeConfig({ config, args: {} });
    if (parsed.hasAddresses) await this.#ipam.release?.(deps, config);
    await this.#removeUnusedBridges(deps);
  }

  async sweep(deps: PluginDeps, knownContainerIds: ReadonlySet<string>): Promise<void> {
    await this.#masquerade.sweep(runDirOf(deps), (containerId) => knownContainerIds.has(containerId));
    const isKnown = isLabelOfAny(knownContainerIds);
    await this.#spoofCheck.remove((label) => !isKnown(label));
    await this.#removeUnusedBridges(deps);
  }

  /** Of all networks: the network may have had another bridge under an older configuration. */
  async #removeUnusedBridges(deps: PluginDeps): Promise<void> {
    for (const name of await recordedBridges(deps)) {
      await this.#bridges.run(name, undefined, async () => await removeUnusedBridge(deps, name));
    }
  }

  /** The path of the namespace is gone, but a process may keep the namespace, and so its link to the bridge. */
  async #removeStrayPort(deps: PluginDeps, config: BridgeConfig, request: PluginRequest): Promise<void> {
    const bridgeIndex = (await getLink(deps.route, config.bridge))?.index;
    for (const { name, mac, sandbox } of request.prevResult?.interfaces ?? []) {
      const link = sandbox === undefined ? await getLink(deps.route, name) : undefined;
      const isOurs = link?.kind === 'veth' && link.masterIndex === bridgeIndex && link.mac === mac;
      if (link !== undefined && isOurs && name !== vlanLinkName(config))
        await deleteHostLink(deps, link.index);
    }
  }

  async #setUpGateway(
    deps: PluginDeps,
    config: BridgeConfig,
    args: { readonly bridge: Link; readonly gateways: Parameters<typeof ensureGateway>[2]['gateways'] } & {
      readonly result: CniResult;
    },
  ): Promise<void> {
    const { bridge, gateways, result } = args;
    if (gateways.length === 0) return;
    const link = config.vlan === 0 ? bridge : await ensureVlanLink(deps, config, bridge);
    if (link !== bridge) result.interfaces.push(describe(link.name, link.mac));
    await ensureGateway(deps, config, { link, gateways });
    if (gateways.some(({ address }) => address.family === 4)) await enable(deps, 'net/ipv4/ip_forward');
    if (gateways.some(({ address }) => address.family === 6)) {
      await enable(deps, 'net/ipv6/conf/all/forwarding');
    }
  }
}

function ipamTypeOf(config: Readonly<Record<string, unknown>>): string {
  const ipam = config['ipam'];
  if (typeof ipam !== 'object' || ipam === null || !('type' in ipam)) return '';
  return String(ipam.type);
}

function memberOf(config: BridgeConfig, request: PluginRequest): Member {
  return { network: config.name, containerId: request.containerId, ifName: request.ifName };
}

function labelOf(config: BridgeConfig, request: PluginRequest): string {
  return ownerLabel(config.name, request.containerId, request.ifName);
}

function emptyResult(
  bridge: Link,
  host: Link,
  pod: { readonly name: string; readonly mac: string | undefined; readonly netnsPath: string },
): CniResult {
  const interfaces = [
    describe(bridge.name, bridge.mac),
    describe(host.name, host.mac),
    { ...describe(pod.name, pod.mac), sandbox: pod.netnsPath },
  ];
  return { cniVersion: '1.1.0', interfaces, ips: [], routes: [], dns: {} };
}

function describe(name: string, mac: string | undefined): CniInterface {
  return { name, ...(mac === undefined ? {} : { mac }) };
}

/** A port forwards once the kernel has seen the carrier of both ends, mostly before the answer to setting it up. */
async function untilUp(deps: PluginDeps, name: string): Promise<Link> {
  let state = 'gone';
  for (const pauseMs of carrierPausesMs) {
    if (pauseMs > 0) await delay(pauseMs);
    const link = await getLink(deps.route, name);
    if (link?.operState === 'up') return link;
    state = link?.operState ?? 'gone';
  }
  throw new EngineError('unavailable', `bridge port ${name} does not come up, it is ${state}`);
}

async function enable(deps: PluginDeps, name: string): Promise<void> {
  // Writing would fail where /proc/sys is read-only, although nothing is to be changed.
  if (readFileSync(`/proc/sys/${name}`, 'utf8').trim() !== '1') await deps.writeSysctl(undefined, name, '1');
}

function hasDns(dns: BridgeConfig['dns']): dns is NonNullable<BridgeConfig['dns']> {
  return Object.values(dns ?? {}).some((part) => part !== null && part !== undefined && part !== '');
}

function withoutEmpty(dns: NonNullable<BridgeConfig['dns']>): CniDns {
  return Object.fromEntries(Object.entries(dns).filter(([, part]) => part !== null && part !== undefined));
}
