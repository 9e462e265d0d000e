/** The configuration of a network of type bridge, checked. Pure. */
import { z } from 'zod';
import type { PluginRequest } from '../plugin-types.ts';
import { configError, readConfig, unknownKey } from './config-keys.ts';

const text = z.string().nullish();
const flag = z.boolean().default(false);
const maxVlan = 4094;
const vlanId = z.number().int().min(1).max(maxVlan).optional();

const schema = z.object({
  name: z.string(),
  bridge: z.string().default('cni0'),
  isGateway: flag,
  isDefaultGateway: flag,
  forceAddress: flag,
  ipMasq: flag,
  ipMasqBackend: text,
  mtu: z.number().int().min(0).default(0),
  hairpinMode: flag,
  promiscMode: flag,
  vlan: z.number().int().min(0).max(maxVlan).default(0),
  vlanTrunk: z.array(z.object({ minID: vlanId, maxID: vlanId, id: vlanId })).nullish(),
  preserveDefaultVlan: z.boolean().default(false),
  macspoofchk: flag,
  enabledad: flag,
  portIsolation: flag,
  disableContainerInterface: flag,
  ipam: z.object({ type: z.string().default('') }).nullish(),
  dns: z
    .object({
      nameservers: z.array(z.string()).nullish(),
      domain: z.string().nullish(),
      search: z.array(z.string()).nullish(),
      options: z.array(z.string()).nullish(),
    })
    .nullish(),
  runtimeConfig: z.object({ mac: text }).nullish(),
  args: z.object({ cni: z.object({ mac: text }).nullish() }).nullish(),
});

type Parsed = z.output<typeof schema>;

/** What the plugin works by; a default gateway is a gateway, and there are addresses when there is an IPAM type. */
export interface BridgeConfig extends Omit<Parsed, 'mtu' | 'runtimeConfig' | 'args' | 'ipam'> {
  readonly mtu: number | undefined;
  /** The address that the pod's end is to have. */
  readonly mac: string | undefined;
  readonly hasAddresses: boolean;
  /** The tagged VLANs of the port, in order. */
  readonly trunk: readonly number[];
  readonly filtersVlans: boolean;
}

const knownKeys: ReadonlySet<string> = new Set([
  ...Object.keys(schema.shape),
  // Of the whole network, and repeated by some in each plugin.
  'disableCheck',
]);

/** The first key, or key and value, that only the program knows. */
export function unknownBridgeKey(config: Readonly<Record<string, unknown>>): string | undefined {
  const key = unknownKey(config, knownKeys);
  if (key !== undefined) return key;
  // Who asks for iptables wants to see the rules there.
  return config['ipMasqBackend'] === 'iptables' ? 'ipMasqBackend=iptables' : undefined;
}

/** @throws EngineError failed-precondition that says which keys contradict each other */
export function parseBridgeConfig(request: Pick<PluginRequest, 'config' | 'args'>): BridgeConfig {
  const parsed = readConfig(schema, 'bridge', request.config);
  const { mtu, runtimeConfig, args, ipam, ...rest } = parsed;
  const hasAddresses = ipam !== null && ipam !== undefined && ipam.type !== '';
  if (parsed.hairpinMode && parsed.promiscMode) {
    throw configError('bridge', request.config, 'hairpinMode and promiscMode exclude each other');
  }
  if (hasAddresses && parsed.disableContainerInterface) {
    throw configError('bridge', request.config, 'disableContainerInterface allows no ipam');
  }
  const mac = [runtimeConfig?.mac, args?.cni?.mac, request.args['MAC']].find((each) => each);
  return {
    ...rest,
    isGateway: parsed.isGateway || parsed.isDefaultGateway,
    mtu: mtu === 0 ? undefined : mtu,
    mac: mac ?? undefined,
    hasAddresses,
    trunk: trunkOf(request, parsed),
    filtersVlans: parsed.vlan !== 0 || (parsed.vlanTrunk ?? undefined) !== undefined,
  };
}

function trunkOf(request: Pick<PluginRequest, 'config'>, parsed: Parsed): number[] {
  const vlans = new Set<number>();
  for (const { minID, maxID, id } of parsed.vlanTrunk ?? []) {
    if ((minID === undefined) !== (maxID === undefined)) {
      throw configError('bridge', request.config, 'vlanTrunk: minID and maxID belong together');
    }
    if (minID !== undefined && maxID !== undefined) {
      if (maxID < minID)
        throw configError('bridge', request.config, 'vlanTrunk: minID is greater than maxID');
      for (let vlan = minID; vlan <= maxID; vlan += 1) vlans.add(vlan);
    }
    if (id !== undefined) vlans.add(id);
  }
  return [...vlans].toSorted((one, other) => one - other);
}
