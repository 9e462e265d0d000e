/** Port mappings of an attachment as elements of nftables sets and maps. Pure. */
import { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { formatIp, networkOf, requireIp, requirePrefix, type IpPrefix } from '../../lib/ip-address.ts';
import type { CniResult, PluginRequest } from '../plugin-types.ts';
import { readConfig, unknownKey } from './config-keys.ts';
import type { OwnedElement } from './nftables-elements.ts';
import { ownerLabel } from './owner-label.ts';

const port = z.number().int().min(1).max(65_535);
const mappingSchema = z.object({
  hostPort: port,
  containerPort: port,
  protocol: z
    .string()
    .transform((text) => text.toLowerCase())
    .pipe(z.enum(['tcp', 'udp', 'sctp'])),
  hostIP: z.string().nullish(),
});
const schema = z.object({
  name: z.string(),
  snat: z.boolean().default(true),
  runtimeConfig: z.object({ portMappings: z.array(mappingSchema).nullish() }).nullish(),
});

type PortMapping = z.output<typeof mappingSchema>;

export interface PortmapConfig {
  readonly network: string;
  /** Whether what comes from the host's loopback or from the pod's own network is masqueraded. */
  readonly snat: boolean;
  readonly mappings: readonly PortMapping[];
}

/** Names of the sets and maps; each exists once a family, with the family's digit at its end. */
export const setNames = {
  /** protocol . host port -> pod . port */
  anywhere: 'ports_',
  /** protocol . host address . host port -> pod . port */
  atAddress: 'ports_at_address_',
  /** the pod's network . pod */
  neighbours: 'neighbours_',
} as const;

const knownKeys: ReadonlySet<string> = new Set(['snat', 'backend']);

/** The first key, or key and value, that only the program knows. */
export function unknownPortmapKey(config: Readonly<Record<string, unknown>>): string | undefined {
  const key = unknownKey(config, knownKeys);
  if (key !== undefined) return key;
  const { backend } = config;
  return backend === undefined || backend === null || backend === 'nftables'
    ? undefined
    : `backend=${JSON.stringify(backend)}`;
}

/** @throws EngineError failed-precondition that names the mapping at fault */
export function parsePortmapConfig(config: Readonly<Record<string, unknown>>): PortmapConfig {
  const { name, snat, runtimeConfig } = readConfig(schema, 'portmap', config);
  return { network: name, snat, mappings: runtimeConfig?.portMappings ?? [] };
}

/** The pod's first address of each family. */
export function podAddresses(result: CniResult, ifName: string): IpPrefix[] {
  const own = result.ips.filter(({ interface: index }) => {
    if (index === undefined) return true;
    const link = result.interfaces[index];
    return link === undefined || (link.name === ifName && link.sandbox !== undefined);
  });
  const addresses = own.map(({ address }) => requirePrefix(address, 'address of the container'));
  return ([4, 6] as const).flatMap((family) =>
    addresses.filter(({ address }) => address.family === family).slice(0, 1),
  );
}

/**
 * What an attachment puts into the sets: for each mapping one element that leads to the pod, and those that decide
 * about masquerading. @throws EngineError failed-precondition when two mappings of the request want the same port
 */
export function mappingElements(
  config: PortmapConfig,
  pods: readonly IpPrefix[],
  request: Pick<PluginRequest, 'containerId' | 'ifName'>,
): OwnedElement[] {
  const comment = ownerLabel(config.network, request.containerId, request.ifName);
  const elements = pods.flatMap((pod) => {
    const { family } = pod.address;
    const address = formatIp(pod.address);
    const forwards = config.mappings.flatMap((mapping) => forwardElement(mapping, pod, comment));
    if (!config.snat || forwards.length === 0) return forwards;
    const network = networkOf(pod);
    const prefix = { prefix: { addr: formatIp(network.address), len: network.length } };
    const neighbours = {
      set: `${setNames.neighbours}${family}`,
      value: { concat: [prefix, address] },
      comment,
    };
    return [...forwards, neighbours];
  });
  return withoutRepeated(elements);
}

/** The same key in the same set. */
export function isSameKey(one: OwnedElement, other: OwnedElement): boolean {
  return one.set === other.set && JSON.stringify(one.value) === JSON.stringify(other.value);
}

/** `8080/tcp`, or `192.0.2.1:8080/tcp`, of an element that leads to a pod; undefined for others. */
export function describePort({ set, value }: OwnedElement): string | undefined {
  const parts = concatOf(value);
  if (set.startsWith(setNames.atAddress)) return `${parts[1]}:${parts[2]}/${parts[0]}`;
  return set.startsWith(setNames.anywhere) ? `${parts[1]}/${parts[0]}` : undefined;
}

/** The pod's address that an element is about. */
export function podOf({ value, data }: OwnedElement): string | undefined {
  return data === undefined ? concatOf(value)[1] : concatOf(data)[0];
}

function concatOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null || !('concat' in value)) return [];
  return Array.isArray(value.concat) ? value.concat.map((part) => String(part)) : [];
}

/** Nothing for a host address of the other family. */
function forwardElement(mapping: PortMapping, pod: IpPrefix, comment: string): OwnedElement[] {
  const { protocol, hostPort, containerPort, hostIP } = mapping;
  const { family } = pod.address;
  const data = { concat: [formatIp(pod.address), containerPort] };
  const anywhere = {
    set: `${setNames.anywhere}${family}`,
    value: { concat: [protocol, hostPort] },
    data,
    comment,
  };
  if (hostIP === undefined || hostIP === null || hostIP === '') return [anywhere];
  const at = requireIp(hostIP, `hostIP of port ${hostPort}`);
  if (at.family !== family) return [];
  if (at.value === 0n) return [anywhere];
  const set = `${setNames.atAddress}${family}`;
  return [{ set, value: { concat: [protocol, formatIp(at), hostPort] }, data, comment }];
}

function withoutRepeated(elements: readonly OwnedElement[]): OwnedElement[] {
  const byKey = new Map<string, OwnedElement>();
  for (const element of elements) {
    const key = `${element.set} ${JSON.stringify(element.value)}`;
    const other = byKey.get(key);
    if (other !== undefined && JSON.stringify(other.data) !== JSON.stringify(element.data)) {
      const text = `host port ${describePort(element) ?? key} is mapped twice in one pod`;
      throw new EngineError('invalid-argument', text);
    }
    byKey.set(key, element);
  }
  return [...byKey.values()];
}
