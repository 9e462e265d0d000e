/** CHECK of a bridge attachment: the links, addresses and routes that the result names. */
import { EngineError } from '../../lib/errors.ts';
import { formatPrefix, networkOf, requireIp, requirePrefix, sameIp } from '../../lib/ip-address.ts';
import { listAddresses } from '../../linux/netlink/addresses.ts';
import { getLink, listLinks } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import { listRoutes } from '../../linux/netlink/routes.ts';
import type { RouteSocket } from '../../linux/netlink/socket.ts';
import type { CniResult, CniRoute } from '../plugin-types.ts';
import type { BridgeConfig } from './bridge-config.ts';

/** @throws EngineError failed-precondition that names the first difference */
export async function checkAttachment(args: {
  readonly config: BridgeConfig;
  readonly route: RouteSocket;
  readonly pod: RouteSocket;
  readonly result: CniResult;
  readonly netnsPath: string;
  readonly ifName: string;
}): Promise<void> {
  const { config, result, ifName } = args;
  const bridge = await checkBridge(args.route, config, result);
  const named = result.interfaces.find(({ name, sandbox }) => name === ifName && sandbox === args.netnsPath);
  if (named === undefined) throw differs(`the result has no ${ifName} in ${args.netnsPath}`);
  const link = await getLink(args.pod, ifName);
  if (link?.kind !== 'veth') throw differs(`the container has no veth ${ifName}`);
  if (named.mac !== undefined && named.mac !== link.mac) {
    throw differs(`${ifName} has the MAC address ${link.mac ?? 'none'}, not ${named.mac}`);
  }
  await checkPort(args.route, result, { bridge, link });
  await checkAddresses(args.pod, result, link);
  for (const route of result.routes) await checkRoute(args.pod, route);
}

async function checkBridge(route: RouteSocket, config: BridgeConfig, result: CniResult): Promise<Link> {
  const link = await getLink(route, config.bridge);
  if (link?.kind !== 'bridge') throw differs(`the host has no bridge ${config.bridge}`);
  const named = result.interfaces.find(
    ({ name, sandbox }) => name === config.bridge && sandbox === undefined,
  );
  if (named === undefined) throw differs(`the result has no bridge ${config.bridge}`);
  if (named.mac !== undefined && named.mac !== link.mac) {
    throw differs(`bridge ${link.name} has the MAC address ${link.mac ?? 'none'}, not ${named.mac}`);
  }
  if (config.promiscMode && link.promiscuity === 0) throw differs(`bridge ${link.name} is not promiscuous`);
  return link;
}

/** One of the host's links in the result is the pod's other end, and a port of the bridge. */
async function checkPort(
  route: RouteSocket,
  result: CniResult,
  expected: { readonly bridge: Link; readonly link: Link },
): Promise<void> {
  const names = new Set(
    result.interfaces.filter(({ sandbox }) => sandbox === undefined).map(({ name }) => name),
  );
  const links = await listLinks(route);
  const port = links.find(
    ({ name, index, kind }) => kind === 'veth' && names.has(name) && index === expected.link.linkIndex,
  );
  if (port === undefined) throw differs(`the host's end of ${expected.link.name} is not among its links`);
  if (port.masterIndex !== expected.bridge.index) {
    throw differs(`${port.name} is no port of ${expected.bridge.name}`);
  }
}

async function checkAddresses(pod: RouteSocket, result: CniResult, link: Link): Promise<void> {
  const addresses = await listAddresses(pod, { index: link.index });
  const present = addresses.map(({ address }) => formatPrefix(address));
  for (const { address } of result.ips) {
    if (!present.includes(formatPrefix(requirePrefix(address, 'address')))) {
      throw differs(`${link.name} does not have the address ${address}`);
    }
  }
}

async function checkRoute(pod: RouteSocket, route: CniRoute): Promise<void> {
  const destination = networkOf(requirePrefix(route.dst, 'route'));
  const { gw } = route;
  const table = route.table === undefined ? {} : { table: route.table };
  const routes = await listRoutes(pod, { family: destination.address.family, ...table });
  const isThere = routes.some(
    (each) =>
      each.destination.length === destination.length &&
      sameIp(each.destination.address, destination.address) &&
      (gw === undefined || (each.via !== undefined && sameIp(each.via, requireIp(gw, 'gateway')))),
  );
  if (!isThere)
    throw differs(`the container has no route to ${route.dst}${gw === undefined ? '' : ` via ${gw}`}`);
}

function differs(fault: string): EngineError {
  return new EngineError('failed-precondition', `the attachment is not as it was made: ${fault}`);
}
