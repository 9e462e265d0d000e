/** The `ipam` part of a network of type host-local: the ranges with their defaults, checked. Pure. */
import { z } from 'zod';
import { messageOf } from '../../lib/errors.ts';
import {
  bitsOf,
  formatIp,
  formatPrefix,
  ipOffset,
  lastAddressOf,
  networkOf,
  parsePrefix,
  prefixContains,
  requireIp,
  requirePrefix,
  sameIp,
  type IpAddress,
  type IpPrefix,
} from '../../lib/ip-address.ts';
import type { CniRoute, PluginRequest } from '../plugin-types.ts';
import { configError, readConfig, unknownKey } from './config-keys.ts';

/** Addresses from `start` to `end`, both included, out of `subnet`; the gateway's is never given away. */
export interface AddressRange {
  readonly subnet: IpPrefix;
  readonly start: IpAddress;
  readonly end: IpAddress;
  readonly gateway: IpAddress;
}

/** One address is allocated from each set; its ranges are of one family and are used up one after the other. */
export type RangeSet = readonly AddressRange[];

export interface HostLocalConfig {
  readonly network: string;
  readonly dataDir: string | undefined;
  readonly ranges: readonly RangeSet[];
  readonly routes: readonly CniRoute[];
  readonly resolvConf: string | undefined;
  /** Addresses that the caller asks for, by whichever of the three ways. */
  readonly requested: readonly IpAddress[];
}

const rangeSchema = z.object({
  subnet: z.string(),
  rangeStart: z.string().optional(),
  rangeEnd: z.string().optional(),
  gateway: z.string().optional(),
});
const rangeSetsSchema = z.array(z.array(rangeSchema)).nullish();
const routeSchema = z.object({
  dst: z.string(),
  gw: z.string().optional(),
  mtu: z.number().optional(),
  advmss: z.number().optional(),
  priority: z.number().optional(),
  table: z.number().optional(),
  scope: z.number().optional(),
});
const addressesSchema = z.array(z.string()).nullish();
const schema = z.object({
  name: z.string(),
  ipam: rangeSchema.partial().extend({
    type: z.string(),
    routes: z.array(routeSchema).nullish(),
    dataDir: z.string().optional(),
    resolvConf: z.string().optional(),
    ranges: rangeSetsSchema,
  }),
  runtimeConfig: z.object({ ipRanges: rangeSetsSchema, ips: addressesSchema }).nullish(),
  args: z.object({ cni: z.object({ ips: addressesSchema }).nullish() }).nullish(),
});

const knownKeys: ReadonlySet<string> = new Set([
  'subnet',
  'rangeStart',
  'rangeEnd',
  'gateway',
  'routes',
  'dataDir',
  'resolvConf',
  'ranges',
]);

/** The first key of the `ipam` object that only the program knows. */
export function unknownHostLocalKey(ipam: Readonly<Record<string, unknown>>): string | undefined {
  return unknownKey(ipam, knownKeys);
}

/** @throws EngineError failed-precondition that names the range at fault */
export function parseHostLocalConfig(request: Pick<PluginRequest, 'config' | 'args'>): HostLocalConfig {
  const parsed = readConfig(schema, 'host-local', request.config);
  try {
    const { ipam, runtimeConfig, args } = parsed;
    const single = ipam.subnet === undefined ? [] : [[{ ...ipam, subnet: ipam.subnet }]];
    const described = [...(runtimeConfig?.ipRanges ?? []), ...single, ...(ipam.ranges ?? [])];
    const asked = [
      ...(request.args['IP'] === undefined ? [] : [request.args['IP']]),
      ...(args?.cni?.ips ?? []),
      ...(runtimeConfig?.ips ?? []),
    ];
    return {
      network: parsed.name,
      dataDir: ipam.dataDir === '' ? undefined : ipam.dataDir,
      ranges: checkedRanges(described),
      routes: (ipam.routes ?? []).map((route) => checkedRoute(route)),
      resolvConf: ipam.resolvConf === '' ? undefined : ipam.resolvConf,
      requested: asked.map((text) => parsePrefix(text)?.address ?? requireIp(text, 'requested address')),
    };
  } catch (error) {
    throw configError('host-local', request.config, messageOf(error));
  }
}

const locationSchema = z.object({
  name: z.string(),
  ipam: z.object({ dataDir: z.string().optional() }).nullish(),
});

/** Where the leases are: all that giving back needs, so that no fault in the ranges keeps a lease for ever. */
export function parseLeaseLocation(
  config: Readonly<Record<string, unknown>>,
): Pick<HostLocalConfig, 'network' | 'dataDir'> {
  const { name, ipam } = readConfig(locationSchema, 'host-local', config);
  return { network: name, dataDir: ipam?.dataDir === '' ? undefined : ipam?.dataDir };
}

/** `10.1.0.2-10.1.0.254,...`, as errors name a set. */
export function describeRangeSet(set: RangeSet): string {
  return set.map((range) => `${formatIp(range.start)}-${formatIp(range.end)}`).join(',');
}

/** The range of the set that may give this address. */
export function rangeOf(set: RangeSet, address: IpAddress): AddressRange | undefined {
  return set.find((range) => isWithin(range, address));
}

function checkedRanges(described: readonly (readonly z.output<typeof rangeSchema>[])[]): RangeSet[] {
  if (described.length === 0) throw new Error('no IP ranges specified');
  const sets = described.map((ranges, index) => {
    if (ranges.length === 0) throw new Error(`range set ${index} is empty`);
    const set = ranges.map((range) => checkedRange(range));
    if (new Set(set.map((range) => range.start.family)).size > 1) {
      throw new Error(`range set ${index} mixes address families`);
    }
    return set;
  });
  const all = sets.flat();
  for (const [index, range] of all.entries()) {
    const other = all.slice(index + 1).find((each) => overlaps(range, each));
    if (other === undefined) continue;
    throw new Error(`ranges ${describeRangeSet([range])} and ${describeRangeSet([other])} overlap`);
  }
  return sets;
}

function checkedRange(range: z.output<typeof rangeSchema>): AddressRange {
  const subnet = requirePrefix(range.subnet, 'subnet');
  const { family, value } = subnet.address;
  if (subnet.length > bitsOf(family) - 2)
    throw new Error(`subnet ${range.subnet} is too small to allocate from`);
  const network = networkOf(subnet);
  if (network.address.value !== value) {
    throw new Error(`subnet ${range.subnet} has host bits set, its network is ${formatPrefix(network)}`);
  }
  const first = ipOffset(subnet.address, 1n);
  // IPv4 keeps its last address for broadcast.
  const last = ipOffset(lastAddressOf(subnet), family === 4 ? -1n : 0n);
  const gateway = range.gateway === undefined ? first : requireIp(range.gateway, 'gateway');
  const start = range.rangeStart === undefined ? first : requireIp(range.rangeStart, 'rangeStart');
  const end = range.rangeEnd === undefined ? last : requireIp(range.rangeEnd, 'rangeEnd');
  for (const [what, address] of [
    ['rangeStart', start],
    ['rangeEnd', end],
  ] as const) {
    if (!prefixContains(subnet, address)) {
      throw new Error(`${what} ${formatIp(address)} is not in network ${range.subnet}`);
    }
  }
  if (start.value > end.value)
    throw new Error(`rangeStart ${formatIp(start)} is after rangeEnd ${formatIp(end)}`);
  return { subnet, start, end, gateway };
}

function checkedRoute(route: z.output<typeof routeSchema>): CniRoute {
  requirePrefix(route.dst, 'route');
  if (route.gw !== undefined) requireIp(route.gw, `gateway of route ${route.dst}`);
  // Keys without a value do not exist in a result.
  return JSON.parse(JSON.stringify(route)) as CniRoute;
}

function isWithin(range: AddressRange, address: IpAddress): boolean {
  return (
    range.start.family === address.family &&
    address.value >= range.start.value &&
    address.value <= range.end.value
  );
}

function overlaps(one: AddressRange, other: AddressRange): boolean {
  return isWithin(one, other.start) || isWithin(one, other.end) || isWithin(other, one.start);
}

/**
 * The addresses of a set in the order in which they are tried: from the one behind the last that was given, once
 * around, so that an address rests as long as possible before it is used again. Gateways are left out.
 */
export function* candidates(
  set: RangeSet,
  last: IpAddress | undefined,
): Generator<{ readonly address: IpAddress; readonly range: AddressRange }> {
  const index = last === undefined ? -1 : set.findIndex((range) => isWithin(range, last));
  const current = set[index];
  if (last === undefined || current === undefined) {
    for (const range of set) yield* between(range, range.start, range.end);
    return;
  }
  yield* between(current, ipOffset(last, 1n), current.end);
  for (const range of [...set.slice(index + 1), ...set.slice(0, index)]) {
    yield* between(range, range.start, range.end);
  }
  yield* between(current, current.start, last);
}

function* between(
  range: AddressRange,
  from: IpAddress,
  to: IpAddress,
): Generator<{ readonly address: IpAddress; readonly range: AddressRange }> {
  for (let address = from; address.value <= to.value; address = ipOffset(address, 1n)) {
    if (!sameIp(address, range.gateway)) yield { address, range };
  }
}
