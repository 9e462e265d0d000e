/** IPAM in-process: the same configuration, results and lease files as the host-local program. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError } from '../../lib/errors.ts';
import { formatIp, formatPrefix, sameIp, type IpAddress } from '../../lib/ip-address.ts';
import type {
  CniDns,
  CniIp,
  CniResult,
  InProcessPlugin,
  PluginDeps,
  PluginRequest,
  ValidAttachment,
} from '../plugin-types.ts';
import {
  candidates,
  describeRangeSet,
  parseHostLocalConfig,
  parseLeaseLocation,
  rangeOf,
  unknownHostLocalKey,
  type AddressRange,
  type HostLocalConfig,
  type RangeSet,
} from './host-local-config.ts';
import { LeaseDirectories, type LeaseOwner, type Leases } from './lease-directory.ts';

const defaultDataDir = '/var/lib/cni/networks';

/** Called by other plugins, as IPAM plugins are; never alone in a list. */
export class HostLocalPlugin implements InProcessPlugin {
  readonly type = 'host-local';
  readonly #directories = new LeaseDirectories();

  /** Looks at the `ipam` object of the network's configuration. */
  supports(config: Readonly<Record<string, unknown>>): string | undefined {
    const ipam = config['ipam'];
    if (typeof ipam !== 'object' || ipam === null) return 'no ipam object';
    return unknownHostLocalKey({ ...ipam });
  }

  /**
   * One address from each range set, or none at all. A lease that the same attachment left behind is used again.
   * @throws EngineError resource-exhausted when a set has no free address (and on a full disk)
   */
  async add(deps: PluginDeps, request: PluginRequest): Promise<CniResult> {
    const config = parseHostLocalConfig(request);
    const owner = ownerOf(request);
    const dns = config.resolvConf === undefined ? {} : readResolvConf(config.resolvConf);
    const ips = await this.#directories.locked(directoryOf(deps, config), 'create', (leases) =>
      leases === undefined ? [] : allocate(config, owner, leases),
    );
    const routes = config.routes.map((route) => ({ ...route }));
    return { cniVersion: '1.1.0', interfaces: [], ips, routes, dns };
  }

  async del(deps: PluginDeps, request: PluginRequest): Promise<void> {
    const config = parseLeaseLocation(request.config);
    await this.#directories.locked(directoryOf(deps, config), 'existing', (leases) => {
      for (const address of leases?.ownedBy(ownerOf(request)) ?? []) leases?.release(address);
    });
  }

  async check(deps: PluginDeps, request: PluginRequest): Promise<void> {
    const config = parseLeaseLocation(request.config);
    const isLeased = await this.#directories.locked(
      directoryOf(deps, config),
      'existing',
      (leases) => leases !== undefined && leases.ownedBy(ownerOf(request)).length > 0,
    );
    if (isLeased) return;
    throw new EngineError(
      'failed-precondition',
      `network ${config.network}: no address is leased to ${request.containerId} (${request.ifName})`,
    );
  }

  /** A network that is full is still ready: attachments that end free addresses. */
  async status(_deps: PluginDeps, config: Readonly<Record<string, unknown>>): Promise<void> {
    await Promise.resolve(parseHostLocalConfig({ config, args: {} }));
  }

  async gc(
    deps: PluginDeps,
    config: Readonly<Record<string, unknown>>,
    valid: readonly ValidAttachment[],
  ): Promise<void> {
    const parsed = parseLeaseLocation(config);
    const isValid = (owner: LeaseOwner): boolean =>
      valid.some(
        ({ containerID, ifname }) =>
          containerID === owner.containerId && (owner.ifName === '' || ifname === owner.ifName),
      );
    await this.#directories.locked(directoryOf(deps, parsed), 'existing', (leases) => {
      for (const { address, owner } of leases?.all() ?? []) {
        if (!isValid(owner)) leases?.release(address);
      }
    });
  }

  async release(deps: PluginDeps, config: Readonly<Record<string, unknown>>): Promise<void> {
    const directory = directoryOf(deps, parseLeaseLocation(config));
    await this.#directories.locked(directory, 'existing', (leases) => leases?.discardIfUnused('ours'));
  }
}

function directoryOf(deps: PluginDeps, config: Pick<HostLocalConfig, 'network' | 'dataDir'>): string {
  return join(config.dataDir ?? deps.dataDir ?? defaultDataDir, config.network);
}

function ownerOf(request: PluginRequest): LeaseOwner {
  return { containerId: request.containerId, ifName: request.ifName };
}

function allocate(config: HostLocalConfig, owner: LeaseOwner, leases: Leases): CniIp[] {
  const given: IpAddress[] = [];
  const requested = [...config.requested];
  try {
    const ips = config.ranges.map((set, index) => {
      const at = requested.findIndex((address) => rangeOf(set, address) !== undefined);
      const [wanted] = at === -1 ? [] : requested.splice(at, 1);
      const { address, range, isNew } = allocateFrom({ set, index, wanted, owner }, leases);
      if (isNew) {
        given.push(address);
        leases.rememberLast(index, address);
      }
      return {
        address: formatPrefix({ address, length: range.subnet.length }),
        gateway: formatIp(range.gateway),
      };
    });
    if (requested.length === 0) return ips;
    const left = requested.map((address) => formatIp(address)).join(', ');
    throw new EngineError('failed-precondition', `requested address ${left} is in no range of the network`);
  } catch (error) {
    for (const address of given) leases.release(address);
    const reason = EngineError.from(error);
    throw new EngineError(reason.kind, `network ${config.network}: ${reason.message}`, { cause: error });
  }
}

interface Allocation {
  readonly address: IpAddress;
  readonly range: AddressRange;
  readonly isNew: boolean;
}

function allocateFrom(
  want: {
    readonly set: RangeSet;
    readonly index: number;
    readonly wanted: IpAddress | undefined;
    readonly owner: LeaseOwner;
  },
  leases: Leases,
): Allocation {
  const { set, index, wanted, owner } = want;
  const own = leases.ownedBy(owner).find((address) => rangeOf(set, address) !== undefined);
  if (own !== undefined && (wanted === undefined || sameIp(own, wanted))) {
    return { address: own, range: requireRange(set, own), isNew: false };
  }
  if (wanted !== undefined) return reserveWanted(set, wanted, owner, leases);
  for (const { address, range } of candidates(set, leases.lastReserved(index))) {
    if (!leases.isTaken(address) && leases.reserve(address, owner)) return { address, range, isNew: true };
  }
  throw new EngineError(
    'resource-exhausted',
    `no IP addresses available in range set: ${describeRangeSet(set)}`,
  );
}

function reserveWanted(set: RangeSet, wanted: IpAddress, owner: LeaseOwner, leases: Leases): Allocation {
  const range = requireRange(set, wanted);
  if (sameIp(wanted, range.gateway)) {
    throw new EngineError(
      'failed-precondition',
      `requested address ${formatIp(wanted)} is the subnet's gateway`,
    );
  }
  if (leases.reserve(wanted, owner)) return { address: wanted, range, isNew: true };
  const text = `requested address ${formatIp(wanted)} is not available in range set ${describeRangeSet(set)}`;
  throw new EngineError('resource-exhausted', text);
}

function requireRange(set: RangeSet, address: IpAddress): AddressRange {
  const range = rangeOf(set, address);
  if (range === undefined)
    throw new EngineError('internal', `${formatIp(address)} is in no range of its set`);
  return range;
}

/** The resolver's configuration as a result's dns. @throws EngineError failed-precondition when it cannot be read */
function readResolvConf(path: string): CniDns {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new EngineError('failed-precondition', `resolvConf: cannot read ${path}`, { cause });
  }
  const dns = { nameservers: [] as string[], domain: '', search: [] as string[], options: [] as string[] };
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/);
    const [first] = values;
    if (first === undefined) continue;
    if (keyword === 'nameserver') dns.nameservers.push(first);
    else if (keyword === 'domain') dns.domain = first;
    else if (keyword === 'search') dns.search.push(...values);
    else if (keyword === 'options') dns.options.push(...values);
  }
  const { domain, ...lists } = dns;
  const filled = Object.entries(lists).filter(([, list]) => list.length > 0);
  return { ...Object.fromEntries(filled), ...(domain === '' ? {} : { domain }) };
}
