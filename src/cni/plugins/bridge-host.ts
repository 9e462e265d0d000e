/** The host's side of a bridge network: the bridge, the ports, the gateway's addresses. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { EngineError, errnoOf } from '../../lib/errors.ts';
import { formatPrefix, prefixContains, sameIp, type IpPrefix } from '../../lib/ip-address.ts';
import { addAddress, deleteAddress, listAddresses } from '../../linux/netlink/addresses.ts';
import { addPortVlan, deletePortVlan, listPortVlans } from '../../linux/netlink/bridge-vlans.ts';
import { createBridge, createVeth, getLink, setBridgePort, setLink } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import type { RouteSocket } from '../../linux/netlink/socket.ts';
import { isAbsentOrReadOnly } from '../../linux/sysctl.ts';
import type { PluginDeps } from '../plugin-types.ts';
import type { BridgeConfig } from './bridge-config.ts';
import { makeLink } from './made-links.ts';

const nameAttempts = 10;

/** The bridge, made (and recorded as ours) if it is not there, and up. @throws EngineError failed-precondition when the name is another link's */
export async function ensureBridge(deps: PluginDeps, config: BridgeConfig): Promise<Link> {
  const { bridge: name, mtu, filtersVlans } = config;
  let link = await getLink(deps.route, name);
  if (link === undefined) {
    const options = {
      name,
      ...(mtu === undefined ? {} : { mtu }),
      ...(filtersVlans ? { vlanFiltering: true } : {}),
    };
    const create = async (): Promise<void> => await createBridge(deps.route, options);
    await tolerate('EEXIST', async () => await makeLink(deps, name, create));
    link = await getLink(deps.route, name);
  }
  if (link === undefined)
    throw new EngineError('unavailable', `bridge ${name} was removed while it was made`);
  if (link.kind !== 'bridge') {
    const kind = link.kind ?? 'hardware';
    throw new EngineError(
      'failed-precondition',
      `link ${name} is there already and is no bridge but ${kind}`,
    );
  }
  if (filtersVlans && link.vlanFiltering !== true) {
    throw new EngineError('failed-precondition', `bridge ${name} is there already and does not filter VLANs`);
  }
  writeOptionalSysctl(deps, `net/ipv6/conf/${name}/accept_ra`, '0');
  if (!link.isUp || config.promiscMode) {
    await setLink(deps.route, {
      index: link.index,
      up: true,
      ...(config.promiscMode ? { promisc: true } : {}),
    });
  }
  return link;
}

/** Joins the pod to the bridge: both ends in one request, the pod's in its namespace. Returns the host's end. */
export async function connectPod(
  deps: PluginDeps,
  config: BridgeConfig,
  args: { readonly bridge: Link; readonly netnsPath: string; readonly ifName: string },
): Promise<Link> {
  const peerNetnsFd = openSync(args.netnsPath, 'r');
  try {
    for (let attempt = 1; ; attempt += 1) {
      const name = `veth${randomBytes(4).toString('hex')}`;
      const pair = {
        name,
        peerName: args.ifName,
        peerNetnsFd,
        master: args.bridge.index,
        up: true,
        ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
        ...(config.mac === undefined ? {} : { mac: config.mac }),
      };
      try {
        const [, link] = await Promise.all([createVeth(deps.route, pair), getLink(deps.route, name)]);
        if (link !== undefined) return link;
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
        const isNameTaken = (await getLink(deps.route, name)) !== undefined;
        if (isNameTaken && attempt < nameAttempts) continue;
        const text = `interface ${args.ifName} is in the container's namespace already`;
        throw new EngineError('failed-precondition', text, { cause: error });
      }
      throw new EngineError('unavailable', `link ${name} was removed while it was set up`);
    }
  } finally {
    closeSync(peerNetnsFd);
  }
}

/** What the configuration says of the bridge's port with that index. */
export async function setPort(socket: RouteSocket, index: number, config: BridgeConfig): Promise<void> {
  const { hairpinMode: hairpin, portIsolation: isolated } = config;
  if (hairpin || isolated) await setBridgePort(socket, { index, hairpin, isolated });
  await setPortVlans(socket, index, config);
}

/**
 * The addresses of the pods' gateway, on the bridge or on its VLAN's link. A bridge with an address keeps its MAC
 * address, which would else be that of its lowest port and change as pods come and go.
 * @throws EngineError failed-precondition when the link has another address and may not lose it
 */
export async function ensureGateway(
  deps: PluginDeps,
  config: BridgeConfig,
  args: { readonly link: Link; readonly gateways: readonly IpPrefix[] },
): Promise<void> {
  const { link } = args;
  for (const gateway of args.gateways) {
    if (await hasAddress(deps.route, config, link, gateway)) continue;
    const skipDuplicateDetection = !config.enabledad;
    await tolerate(
      'EEXIST',
      async () =>
        await addAddress(deps.route, { index: link.index, address: gateway, skipDuplicateDetection }),
    );
    if (link.mac !== undefined) await setLink(deps.route, { index: link.index, mac: link.mac });
  }
}

/** Sysctls that the kernel does not have, or has read-only, are no reason to fail. */
export function writeOptionalSysctl(deps: PluginDeps, name: string, value: string): void {
  try {
    deps.writeSysctl(name, value);
  } catch (error) {
    if (!isAbsentOrReadOnly(error)) throw error;
  }
}

async function setPortVlans(socket: RouteSocket, index: number, config: BridgeConfig): Promise<void> {
  const { vlan, trunk, preserveDefaultVlan } = config;
  if (vlan === 0 && trunk.length === 0) return;
  if (!preserveDefaultVlan) {
    for (const { vid } of await listPortVlans(socket, index)) await deletePortVlan(socket, index, vid);
  }
  // A trunk without a VLAN of its own takes untagged frames as VLAN 1.
  await addPortVlan(socket, index, { vid: vlan === 0 ? 1 : vlan, isPvid: true, isUntagged: true });
  for (const vid of trunk) await addPortVlan(socket, index, { vid, isPvid: false, isUntagged: false });
}

/** True when the link has it. One that stands in its way goes if `forceAddress` allows that. */
async function hasAddress(
  socket: RouteSocket,
  config: BridgeConfig,
  link: Link,
  wanted: IpPrefix,
): Promise<boolean> {
  const { family } = wanted.address;
  for (const { address } of await listAddresses(socket, { index: link.index, family })) {
    if (sameIp(address.address, wanted.address) && address.length === wanted.length) return true;
    const isInTheWay =
      family === 4 || prefixContains(address, wanted.address) || prefixContains(wanted, address.address);
    if (!isInTheWay) continue;
    if (!config.forceAddress) {
      const text = `${link.name} already has an IP address different from ${formatPrefix(wanted)}: ${formatPrefix(address)}`;
      throw new EngineError('failed-precondition', text);
    }
    await tolerate('EADDRNOTAVAIL', async () => await deleteAddress(socket, { index: link.index, address }));
  }
  return false;
}

/** For what another process may have done in the same moment. */
async function tolerate(code: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (errnoOf(error) !== code) throw error;
  }
}
