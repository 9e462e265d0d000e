/** Routes, on the wire and as operations. Errors are SyscallError. */
import {
  bitsOf,
  formatIp,
  formatPrefix,
  type IpAddress,
  ipFromBytes,
  type IpPrefix,
  ipToBytes,
} from '../../lib/ip-address.ts';
import { addressFamily } from './addresses.ts';
import { AttributeWriter, decodeAttributes, messageFlag, numberOf } from './message.ts';
import type { RouteSocket } from './socket.ts';

/** A unicast route with one next hop. */
export interface Route {
  /** A length of 0 is the default route. */
  readonly destination: IpPrefix;
  /** Of the destination's family. */
  readonly via?: IpAddress;
  /** The index of the link. */
  readonly index?: number;
  /** The gateway is reachable on the link although no address of the link says so. */
  readonly onlink?: boolean;
  readonly source?: IpAddress;
  readonly metric?: number;
  /** Default the main table, 254. */
  readonly table?: number;
  /** 0 universe, 253 link, 254 host. Default as `ip route` chooses: link for IPv4 without gateway, else universe. */
  readonly scope?: number;
  readonly mtu?: number;
  readonly advmss?: number;
  /** Who made it: 2 kernel, 3 boot (the default here), 4 static. */
  readonly protocol?: number;
}

/** What happens when a route to the same destination with the same metric is there. */
export type RouteConflict = 'fail' | 'replace' | 'add-path';

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTA = { dst: 1, oif: 4, gateway: 5, priority: 6, prefSrc: 7, metrics: 8, table: 15 } as const;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
const RTNH_F_ONLINK = 4;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;
const RTN_UNICAST = 1;
const headerBytes = 12;

const conflictFlags: Readonly<Record<RouteConflict, number>> = {
  fail: messageFlag.create | messageFlag.exclusive,
  replace: messageFlag.create | messageFlag.replace,
  'add-path': messageFlag.create,
};

/** @throws SyscallError EEXIST, or ENETUNREACH when the gateway is in no network of the link */
export async function addRoute(
  socket: RouteSocket,
  route: Route,
  conflict: RouteConflict = 'fail',
): Promise<void> {
  await socket.execute({
    type: RTM_NEWROUTE,
    flags: conflictFlags[conflict],
    payload: encodeRoute(route),
    operation: 'RTM_NEWROUTE',
    about: describe(route),
  });
}

/** @throws SyscallError ESRCH when there is none */
export async function deleteRoute(socket: RouteSocket, route: Route): Promise<void> {
  const payload = encodeRoute({ scope: RT_SCOPE_NOWHERE, protocol: 0, ...route });
  await socket.execute({ type: RTM_DELROUTE, payload, operation: 'RTM_DELROUTE', about: describe(route) });
}

/** Unicast routes of the main table, or of another. */
export async function listRoutes(
  socket: RouteSocket,
  filter: { readonly family?: 4 | 6; readonly index?: number; readonly table?: number } = {},
): Promise<Route[]> {
  const table = filter.table ?? RT_TABLE_MAIN;
  const header = encodeRouteHeader({ family: addressFamily(filter.family) });
  const messages = await socket.dump({ type: RTM_GETROUTE, payload: header, operation: 'RTM_GETROUTE' });
  return messages
    .filter((message) => message.payload.readUInt8(7) === RTN_UNICAST)
    .map((message) => decodeRoute(message.payload))
    .filter((route) => route.table === table && (filter.index === undefined || route.index === filter.index));
}

/** The route that a packet to `address` takes. @throws SyscallError ENETUNREACH */
export async function lookupRoute(socket: RouteSocket, address: IpAddress): Promise<Route | undefined> {
  const family = addressFamily(address.family);
  const writer = new AttributeWriter(encodeRouteHeader({ family, dstLength: bitsOf(address.family) }));
  writer.bytes(RTA.dst, ipToBytes(address));
  const answer = await socket.query({
    type: RTM_GETROUTE,
    payload: writer.take(),
    operation: 'RTM_GETROUTE',
    about: formatIp(address),
  });
  return answer === undefined ? undefined : decodeRoute(answer.payload);
}

/** The payload of RTM_NEWROUTE. */
export function encodeRoute(route: Route): Buffer {
  const { destination } = route;
  const isDirect = route.via === undefined && destination.address.family === 4;
  const table = route.table ?? RT_TABLE_MAIN;
  const writer = new AttributeWriter(
    encodeRouteHeader({
      family: addressFamily(destination.address.family),
      dstLength: destination.length,
      table: table > 255 ? 0 : table,
      protocol: route.protocol ?? RTPROT_BOOT,
      scope: route.scope ?? (isDirect ? RT_SCOPE_LINK : 0),
      type: RTN_UNICAST,
      flags: route.onlink === true ? RTNH_F_ONLINK : 0,
    }),
  );
  if (destination.length > 0) writer.bytes(RTA.dst, ipToBytes(destination.address));
  if (route.via !== undefined) writer.bytes(RTA.gateway, ipToBytes(route.via));
  if (route.source !== undefined) writer.bytes(RTA.prefSrc, ipToBytes(route.source));
  if (route.index !== undefined) writer.u32(RTA.oif, route.index);
  if (route.metric !== undefined) writer.u32(RTA.priority, route.metric);
  if (table > 255) writer.u32(RTA.table, table);
  writeMetrics(writer, route);
  return writer.take();
}

/** Reads the payload of an RTM_NEWROUTE. */
export function decodeRoute(payload: Buffer): Route {
  const family = payload.readUInt8(0) === addressFamily(4) ? 4 : 6;
  const attributes = decodeAttributes(payload.subarray(headerBytes));
  const dst = attributes.get(RTA.dst);
  const via = attributes.get(RTA.gateway);
  const source = attributes.get(RTA.prefSrc);
  const index = numberOf(attributes.get(RTA.oif));
  const metric = numberOf(attributes.get(RTA.priority));
  const metrics = decodeAttributes(attributes.get(RTA.metrics) ?? Buffer.alloc(0));
  const mtu = numberOf(metrics.get(RTAX_MTU));
  const advmss = numberOf(metrics.get(RTAX_ADVMSS));
  return {
    destination: {
      address: dst === undefined ? { family, value: 0n } : ipFromBytes(dst),
      length: payload.readUInt8(1),
    },
    table: numberOf(attributes.get(RTA.table)) ?? payload.readUInt8(4),
    protocol: payload.readUInt8(5),
    scope: payload.readUInt8(6),
    onlink: (payload.readUInt32LE(8) & RTNH_F_ONLINK) !== 0,
    ...(via === undefined ? {} : { via: ipFromBytes(via) }),
    ...(source === undefined ? {} : { source: ipFromBytes(source) }),
    ...(index === undefined ? {} : { index }),
    ...(metric === undefined ? {} : { metric }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
  };
}

function writeMetrics(writer: AttributeWriter, { mtu, advmss }: Route): void {
  if (mtu === undefined && advmss === undefined) return;
  writer.nest(RTA.metrics, (metrics) => {
    if (mtu !== undefined) metrics.u32(RTAX_MTU, mtu);
    if (advmss !== undefined) metrics.u32(RTAX_ADVMSS, advmss);
  });
}

interface RouteHeader {
  readonly family: number;
  readonly dstLength?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly flags?: number;
}

/** `struct rtmsg`. */
function encodeRouteHeader(header: RouteHeader): Buffer {
  const buffer = Buffer.alloc(headerBytes);
  buffer.writeUInt8(header.family, 0);
  buffer.writeUInt8(header.dstLength ?? 0, 1);
  buffer.writeUInt8(header.table ?? 0, 4);
  buffer.writeUInt8(header.protocol ?? 0, 5);
  buffer.writeUInt8(header.scope ?? 0, 6);
  buffer.writeUInt8(header.type ?? 0, 7);
  buffer.writeUInt32LE(header.flags ?? 0, 8);
  return buffer;
}

function describe(route: Route): string {
  const via = route.via === undefined ? '' : ` via ${formatIp(route.via)}`;
  const device = route.index === undefined ? '' : ` dev ${route.index}`;
  return formatPrefix(route.destination) + via + device;
}
