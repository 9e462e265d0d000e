/** The pod's side of a bridge network: the interface with its addresses and routes, as the result says. */
import { setImmediate as yieldOnce, setTimeout as delay } from 'node:timers/promises';
import { allEnded } from '../../lib/all-ended.ts';
import { EngineError } from '../../lib/errors.ts';
import {
  formatPrefix,
  ipOffset,
  networkOf,
  requireIp,
  requirePrefix,
  type IpPrefix,
} from '../../lib/ip-address.ts';
import { addAddress, listAddresses } from '../../linux/netlink/addresses.ts';
import { getLink, setLink } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import { addRoute } from '../../linux/netlink/routes.ts';
import type { RouteSocket } from '../../linux/netlink/socket.ts';
import type { CniIp, CniResult, CniRoute, PluginDeps } from '../plugin-types.ts';
import type { BridgeConfig } from './bridge-config.ts';

const settlePatienceMs = 5000;
const maxSettlePauseMs = 20;

/** Where the pod's interface stands in a result's list: behind the bridge and the host's end. */
const podInterfaceIndex = 2;

/** IPAM's answer, completed as a bridge with these keys does: gateways, default routes, the interface of each address. */
export function completeAddresses(
  config: BridgeConfig,
  ipam: Pick<CniResult, 'ips' | 'routes'>,
): { ips: CniIp[]; routes: CniRoute[]; gateways: IpPrefix[] } {
  const routes = [...ipam.routes];
  const gateways: IpPrefix[] = [];
  const ips = ipam.ips.map((given) => {
    const prefix = requirePrefix(given.address, 'address from IPAM');
    const { family } = prefix.address;
    const first = { ...networkOf(prefix), address: ipOffset(networkOf(prefix).address, 1n) };
    const gateway = given.gateway ?? (config.isGateway ? formatPrefix(first).split('/')[0] : undefined);
    const everywhere = family === 4 ? '0.0.0.0/0' : '::/0';
    if (config.isDefaultGateway && !routes.some(({ dst }) => dst === everywhere)) {
      routes.push({ dst: everywhere, ...(gateway === undefined ? {} : { gw: gateway }) });
    }
    if (config.isGateway && gateway !== undefined) {
      gateways.push({ address: requireIp(gateway, 'gateway'), length: prefix.length });
    }
    return { ...given, interface: podInterfaceIndex, ...(gateway === undefined ? {} : { gateway }) };
  });
  return { ips, routes, gateways };
}

/** Gives the interface its addresses, brings it up, waits until they can be used, sets the routes. */
export async function configurePod(
  deps: PluginDeps,
  config: BridgeConfig,
  args: {
    readonly pod: RouteSocket;
    readonly netnsPath: string;
    readonly link: Link;
    readonly ips: readonly CniIp[];
    readonly routes: readonly CniRoute[];
  },
): Promise<void> {
  const { pod, link } = args;
  const addresses = args.ips.map(({ address }) => requirePrefix(address, 'address from IPAM'));
  const hasV6 = addresses.some(({ address }) => address.family === 6);
  await deps.writePodSysctls(args.netnsPath, podSysctls(config, link.name, hasV6));
  const up = [
    ...addresses.map(async (address) => await addAddress(pod, { index: link.index, address })),
    setLink(pod, { index: link.index, up: true }),
  ];
  if (hasV6) {
    await allEnded(up);
    await settle(pod, link);
  }
  const routes = args.routes.map(async (route) => await addPodRoute(pod, link.index, route, args.ips));
  await allEnded([...up, ...routes]);
}

/** The interface of that name inside. @throws EngineError not-found */
export async function requirePodLink(pod: RouteSocket, ifName: string): Promise<Link> {
  const link = await getLink(pod, ifName);
  if (link !== undefined) return link;
  throw new EngineError('not-found', `the container has no interface ${ifName}`);
}

function podSysctls(config: BridgeConfig, name: string, hasV6: boolean): Record<string, string> {
  return {
    [`net/ipv6/conf/${name}/accept_dad`]: config.enabledad ? '1' : '0',
    // Neighbours that remember the last owner of the address are told when the interface comes up.
    [`net/ipv4/conf/${name}/arp_notify`]: '1',
    ...(config.enabledad ? { [`net/ipv6/conf/${name}/enhanced_dad`]: '1' } : {}),
    ...(hasV6
      ? {
          'net/ipv6/conf/lo/disable_ipv6': '0',
          [`net/ipv6/conf/${name}/disable_ipv6`]: '0',
          [`net/ipv6/conf/${name}/keep_addr_on_down`]: '1',
          [`net/ipv6/conf/${name}/ndisc_notify`]: '1',
        }
      : {}),
  };
}

/** Until duplicate address detection is through. With it off that is at once. */
async function settle(pod: RouteSocket, link: Link): Promise<void> {
  const deadline = performance.now() + settlePatienceMs;
  // The kernel's worker needs some microseconds even when there is nothing to detect.
  for (let pauseMs = 0; ; pauseMs = Math.min(Math.max(1, pauseMs * 2), maxSettlePauseMs)) {
    const addresses = await listAddresses(pod, { index: link.index, family: 6 });
    const duplicate = addresses.find(({ isDuplicate }) => isDuplicate);
    if (duplicate !== undefined) {
      const text = `${formatPrefix(duplicate.address)} on ${link.name} is used by somebody else`;
      throw new EngineError('failed-precondition', text);
    }
    if (!addresses.some(({ isTentative }) => isTentative)) return;
    if (performance.now() > deadline) {
      throw new EngineError(
        'unavailable',
        `${link.name} still has tentative addresses after ${settlePatienceMs} ms`,
      );
    }
    await (pauseMs === 0 ? yieldOnce() : delay(pauseMs));
  }
}

async function addPodRoute(
  pod: RouteSocket,
  index: number,
  route: CniRoute,
  ips: readonly CniIp[],
): Promise<void> {
  const destination = networkOf(requirePrefix(route.dst, 'route'));
  const isV4 = destination.address.family === 4;
  const gateway = route.gw ?? ips.find(({ gateway: each }) => each?.includes(':') === !isV4)?.gateway;
  await addRoute(
    pod,
    {
      destination,
      index,
      scope: route.scope ?? 0,
      ...(gateway === undefined ? {} : { via: requireIp(gateway, 'gateway') }),
      ...(route.priority === undefined ? {} : { metric: route.priority }),
      ...(route.table === undefined ? {} : { table: route.table }),
      ...(route.mtu === undefined ? {} : { mtu: route.mtu }),
      ...(route.advmss === undefined ? {} : { advmss: route.advmss }),
    },
    'add-path',
  );
}
