/**
 * The network that pods get while the node has no CNI configuration at all: a bridge with masquerade, hairpin and host
 * ports, addresses by host-local, in a subnet that none of the host's routes uses. It is a CNI list like any other
 * (bridge + portmap): the same plugins run it, in-process or by their programs. Network and bridge are called
 * `gantry<number>`; the number goes up when the subnet must change while pods are still in the old one, since a
 * bridge has one gateway address. While pods are attached, their records tell what was chosen; what the cluster assigned
 * is kept in `<cacheDir>/gantry-default-network.json`.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { parseNetworkList, type NetworkList } from '../cni/network-list.ts';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { formatPrefix, networkOf, prefixContains, requirePrefix, type IpPrefix } from '../lib/ip-address.ts';

/** What of the host's network is in use: routes but for the default ones, each with its link's name. */
export type UsedPrefixes = () => Promise<
  readonly { readonly prefix: IpPrefix; readonly linkName: string | undefined }[]
>;

export interface DefaultNetworkOptions {
  readonly cacheDir: string;
  /** The wish: one subnet of each family at most, separated by commas. Default 10.88.0.0/16. */
  readonly subnets?: string | undefined;
  readonly usedPrefixes: UsedPrefixes;
  /** The networks to which pods are attached, with the configuration by which they were. */
  readonly inUse: () => readonly { readonly networkName: string; readonly config: string }[];
  /** Runs work while no pod is attached or detached. @throws the signal's reason if it is aborted while waiting */
  readonly alone: (signal: AbortSignal | undefined, work: () => Promise<void>) => Promise<void>;
  /** Removes the bridge of that name, if there is one: its gateway address is not of the new subnet. */
  readonly discardBridge: (name: string) => Promise<void>;
}

const choiceSchema = z.object({
  number: z.number().int().min(0),
  subnets: z.array(z.string()).min(1).max(2),
  /** True when the cluster gave the subnets: they are not ours to change. */
  isAssigned: z.boolean(),
});
type Choice = z.output<typeof choiceSchema>;

/** Of a document that `#compose` made. */
const documentSchema = z.object({
  plugins: z.tuple([
    z.object({ ipam: z.object({ ranges: z.array(z.tuple([z.object({ subnet: z.string() })])) }) }),
    z.unknown(),
  ]),
});

const namePrefix = 'gantry';
const standardSubnet = '10.88.0.0/16';

/** True for the name of a built-in network, which is its bridge's too. */
export function isDefaultNetworkName(name: string): boolean {
  return /^gantry\d{1,6}$/.test(name);
}

export class DefaultNetwork {
  readonly #options: DefaultNetworkOptions;
  #choice: Choice | undefined;
  #list: NetworkList | undefined;

  constructor(options: DefaultNetworkOptions) {
    this.#options = options;
  }

  /** The list; its subnet is chosen when it is first asked for. @throws EngineError when no subnet is free */
  async list(): Promise<NetworkList> {
    if (this.#choice === undefined) {
      const chosen = await this.#choose();
      // What the cluster has assigned meanwhile counts.
      this.#choice ??= chosen;
    }
    this.#list ??= this.#compose(this.#choice);
    return this.#list;
  }

  /**
   * Gives the network the cluster's pod CIDRs, while no pod is being attached. Pods that are attached stay where they are.
   *
   * @throws EngineError invalid-argument for a CIDR without room
   */
  async assign(subnets: readonly string[], signal?: AbortSignal): Promise<NetworkList> {
    const canonical = subnets.map((subnet) => canonicalSubnet(subnet, 'pod CIDR'));
    const present = this.#choice ?? this.#read();
    if (present?.isAssigned !== true || present.subnets.join() !== canonical.join()) {
      await this.#options.alone(signal, async () => {
        const before = this.#choice ?? this.#read();
        const number = before === undefined ? 0 : this.#numberAfter(before);
        await this.#keep({ number, subnets: canonical, isAssigned: true }, before);
      });
    }
    return await this.list();
  }

  async #choose(): Promise<Choice> {
    const kept = this.#read();
    if (kept !== undefined) return kept;
    const used = await this.#options.usedPrefixes();
    const wish = (this.#options.subnets ?? standardSubnet)
      .split(',')
      .map((text) => canonicalSubnet(text.trim(), 'default subnet'));
    const candidates = [
      wish,
      ...standIns().map((v4) => wish.map((subnet) => (subnet.includes(':') ? subnet : v4))),
    ];
    for (const subnets of candidates) {
      const choice = { number: 0, subnets, isAssigned: false };
      if (areFree(choice, used)) return choice;
    }
    throw new EngineError(
      'failed-precondition',
      `built-in network: each of its subnets (${wish.join(', ')} and others) is in use by a route of this host`,
    );
  }

  #numberAfter(before: Choice): number {
    return this.#isInUse(nameOf(before)) ? before.number + 1 : before.number;
  }

  #isInUse(networkName: string): boolean {
    return this.#options.inUse().some((each) => each.networkName === networkName);
  }

  /** What was assigned, else what the pods that are there are attached to; undefined when there is neither. */
  #read(): Choice | undefined {
    const assigned = this.#readFile();
    if (assigned?.isAssigned === true) return assigned;
    // An older release kept every choice there.
    if (assigned !== undefined) rmSync(this.#path(), { force: true });
    const choices = this.#options.inUse().flatMap((each) => choiceOf(each) ?? []);
    return choices.toSorted((one, other) => other.number - one.number)[0];
  }

  #readFile(): Choice | undefined {
    try {
      return choiceSchema.parse(JSON.parse(readFileSync(this.#path(), 'utf8')));
    } catch {
      // Absent or damaged: the cluster assigns again, nothing else is in the file.
      return undefined;
    }
  }

  async #keep(choice: Choice, before: Choice | undefined): Promise<void> {
    const path = this.#path();
    const isMoved = before?.number === choice.number && before.subnets.join() !== choice.subnets.join();
    if (isMoved) await this.#options.discardBridge(nameOf(before));
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      writeFileSync(`${path}.tmp`, JSON.stringify(choice), { mode: 0o600 });
      renameSync(`${path}.tmp`, path);
    } catch (error) {
      const kind = errnoOf(error) === 'ENOSPC' ? 'resource-exhausted' : 'internal';
      throw new EngineError(kind, `keep the built-in network's subnet in ${path}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    this.#choice = choice;
    this.#list = undefined;
  }

  #path(): string {
    return join(this.#options.cacheDir, 'gantry-default-network.json');
  }

  #compose(choice: Choice): NetworkList {
    const name = nameOf(choice);
    const dataDir = join(this.#options.cacheDir, 'networks');
    const bridge = {
      type: 'bridge',
      bridge: name,
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        ranges: choice.subnets.map((subnet) => [{ subnet }]),
        routes: choice.subnets.map((subnet) => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })),
        ...(dataDir === '/var/lib/cni/networks' ? {} : { dataDir }),
      },
    };
    const portmap = { type: 'portmap', capabilities: { portMappings: true } };
    const document = {
      cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
      name,
      loadOnlyInlinedPlugins: true,
      plugins: [bridge, portmap],
    };
    return parseNetworkList({ source: 'built-in', text: JSON.stringify(document) });
  }
}

function choiceOf(attached: { readonly networkName: string; readonly config: string }): Choice | undefined {
  if (!isDefaultNetworkName(attached.networkName)) return undefined;
  try {
    const { plugins } = documentSchema.parse(JSON.parse(attached.config));
    const subnets = plugins[0].ipam.ranges.map(([{ subnet }]) => canonicalSubnet(subnet, 'recorded subnet'));
    return { number: Number(attached.networkName.slice(namePrefix.length)), subnets, isAssigned: false };
  } catch {
    // Another engine's network of that name.
    return undefined;
  }
}

function nameOf({ number }: Choice): string {
  return `${namePrefix}${number}`;
}

/** Where to look when the wish is taken: private IPv4 space, away from what home routers and Docker take first. */
function standIns(): string[] {
  const tens = Array.from({ length: 30 }, (_, index) => `10.${89 + index}.0.0/16`);
  return [...tens, '172.28.0.0/16', '172.29.0.0/16', '192.168.220.0/24', '192.168.221.0/24'];
}

function canonicalSubnet(text: string, what: string): string {
  const prefix = requirePrefix(text, what);
  const longest = prefix.address.family === 4 ? 30 : 126;
  if (prefix.length > longest)
    throw new EngineError('invalid-argument', `${what}: ${text} has no room for a gateway and a pod`);
  return formatPrefix(networkOf(prefix));
}

function areFree(choice: Choice, used: Awaited<ReturnType<UsedPrefixes>>): boolean {
  // The route of our own bridge is no reason to leave.
  const others = used.filter(({ linkName }) => linkName !== nameOf(choice));
  return choice.subnets.every((text) => {
    const subnet = requirePrefix(text, 'subnet');
    return others.every(({ prefix }) => !overlap(subnet, prefix));
  });
}

function overlap(one: IpPrefix, other: IpPrefix): boolean {
  return prefixContains(one, other.address) || prefixContains(other, one.address);
}
