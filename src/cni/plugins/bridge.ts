/**
 * Pods on a Linux bridge, in-process: the configuration, results, links, addresses and routes of the bridge program.
 * Masquerading and the check of MAC addresses are ours: rules made once a network, not once a pod.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { allEnded } from '../../lib/all-ended.ts';
import { EngineError } from '../../lib/errors.ts';
import { requirePrefix, type IpPrefix } from '../../lib/ip-address.ts';
import { KeyedLock } from '../../lib/keyed-lock.ts';
import { getLink, setLink } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import type { RouteSocket } from '../../linux/netlink/socket.ts';
import type {
  CniDns,
  CniInterface,
  CniIp,
  CniResult,
  CniRoute,
  InProcessPlugin,
  PluginDeps,
  PluginRequest,
  ValidAttachment,
} from '../plugin-types.ts';
import { checkAttachment } from './bridge-check.ts';
import { parseBridgeConfig, unknownBridgeKey, type BridgeConfig } from './bridge-config.ts';
import { connectPod, ensureBridge, ensureGateway, setPort } from './bridge-host.ts';
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

/** What an attachment has once its links are made. */
interface SetUp {
  readonly request: PluginRequest;
  readonly netnsPath: string;
  readonly pod: RouteSocket;
  readonly bridge: Link;
  /** The host's end of the pair. */
  readonly host: Link;
  readonly ips: readonly CniIp[];
  readonly routes: readonly CniRoute[];
  readonly gateways: readonly IpPrefix[];
  readonly undo: AsyncDisposableStack;
}

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
    const { bridge, host, ipam } = await this.#connect(deps, config, { request, netnsPath, undo });
    const completed = completeAddresses(config, ipam);
    const args = { ...completed, request, netnsPath, pod, bridge, host, undo };
    const [link, vlanLink] = await allEnded([
      this.#setUpPod(deps, config, args),
      this.#setUpHost(deps, config, args),
    ]);
    const [port, present] = await Promise.all([
      config.disableContainerInterface ? getLink(deps.route, host.name) : untilUp(deps, host.name),
      // Without an address of its own it changes its MAC address with its ports.
      getLink(deps.route, config.bridge),
    ]);
    undo.move();
    return {
      cniVersion: '1.1.0',
      interfaces: [
        describe(config.bridge, present?.mac),
        describe(host.name, port?.mac),
        { ...describe(link.name, link.mac), sandbox: netnsPath },
        ...(vlanLink === undefined ? [] : [describe(vlanLink.name, vlanLink.mac)]),
      ],
      ips: completed.ips,
      routes: completed.routes,
      dns: hasDns(config.dns) ? withoutEmpty(config.dns) : ipam.dns,
    };
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

  /** Makes the links, and leases the addresses while the kernel does so. */
  async #connect(
    deps: PluginDeps,
    config: BridgeConfig,
    args: {
      readonly request: PluginRequest;
      readonly netnsPath: string;
      readonly undo: AsyncDisposableStack;
    },
  ): Promise<{ bridge: Link; host: Link; ipam: Pick<CniResult, 'ips' | 'routes' | 'dns'> }> {
    const { request, netnsPath, undo } = args;
    const { ifName } = request;
    const lease = async () => {
      if (!config.hasAddresses) return { ips: [], routes: [], dns: {} };
      undo.defer(async () => await this.#ipam.del(deps, request));
      return await this.#ipam.add(deps, request);
    };
    const connect = async () => {
      const bridge = await ensureBridge(deps, config);
      const host = await connectPod(deps, config, { bridge, netnsPath, ifName });
      undo.defer(async () => await deleteHostLink(deps, host.index));
      return { bridge, host };
    };
    const [{ bridge, host }, ipam] = await allEnded([
      this.#bridges.run(config.bridge, undefined, connect),
      lease(),
    ]);
    // Before the pod's end comes up: what it says then is not to go to other VLANs, nor to ports that it is kept from.
    await setPort(deps.route, host.index, config);
    return { bridge, host, ipam };
  }

  async #setUpPod(deps: PluginDeps, config: BridgeConfig, args: SetUp): Promise<Link> {
    const { request, netnsPath, pod, host, ips, routes, undo } = args;
    const link = await requirePodLink(pod, request.ifName);
    if (config.macspoofchk) {
      const label = labelOf(config, request);
      undo.defer(async () => await this.#spoofCheck.remove((each) => each === label));
      await this.#spoofCheck.add({ link: host.name, mac: link.mac ?? '', label });
    }
    if (config.hasAddresses) await configurePod(deps, config, { pod, netnsPath, link, ips, routes });
    else if (!config.disableContainerInterface) await setLink(pod, { index: link.index, up: true });
    return link;
  }

  /** The answer is the VLAN's link, if there is one. */
  async #setUpHost(deps: PluginDeps, config: BridgeConfig, args: SetUp): Promise<Link | undefined> {
    const { request, bridge, ips, gateways, undo } = args;
    const vlanLink = await this.#setUpGateway(deps, config, { bridge, gateways });
    if (config.hasAddresses && config.ipMasq) {
      undo.defer(async () => await this.#masquerade.remove(runDirOf(deps), memberOf(config, request)));
      const addresses = ips.map(({ address }) => requirePrefix(address, 'address'));
      await this.#masquerade.add(runDirOf(deps), memberOf(config, request), addresses);
    }
    return vlanLink;
  }

  async #setUpGateway(
    deps: PluginDeps,
    config: BridgeConfig,
    args: Pick<SetUp, 'bridge' | 'gateways'>,
  ): Promise<Link | undefined> {
    const { bridge, gateways } = args;
    if (gateways.length === 0) return undefined;
    return await this.#bridges.run(config.bridge, undefined, async () => {
      const vlanLink = config.vlan === 0 ? undefined : await ensureVlanLink(deps, config, bridge);
      const link = vlanLink ?? bridge;
      await ensureGateway(deps, config, { link, gateways });
      if (gateways.some(({ address }) => address.family === 4)) enable(deps, 'net/ipv4/ip_forward');
      if (gateways.some(({ address }) => address.family === 6)) {
        enable(deps, 'net/ipv6/conf/all/forwarding');
      }
      return vlanLink;
    });
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

function enable(deps: PluginDeps, name: string): void {
  // Writing would fail where /proc/sys is read-only, although nothing is to be changed.
  if (readFileSync(`/proc/sys/${name}`, 'utf8').trim() !== '1') deps.writeSysctl(name, '1');
}

function hasDns(dns: BridgeConfig['dns']): dns is NonNullable<BridgeConfig['dns']> {
  return Object.values(dns ?? {}).some((part) => part !== null && part !== undefined && part !== '');
}

function withoutEmpty(dns: NonNullable<BridgeConfig['dns']>): CniDns {
  return Object.fromEntries(Object.entries(dns).filter(([, part]) => part !== null && part !== undefined));
}
