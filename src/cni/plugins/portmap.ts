/** Host ports that lead to pods, in-process: elements of nftables maps. A pod without ports starts no process. */
import { EngineError, errnoOf } from '../../lib/errors.ts';
import { KeyedLock } from '../../lib/keyed-lock.ts';
import { runCommand } from '../../linux/command.ts';
import { getLink, setBridgePort } from '../../linux/netlink/links.ts';
import { lookupRoute } from '../../linux/netlink/routes.ts';
import { applyNftables, hasNftablesChain } from '../../linux/nftables.ts';
import type {
  CniResult,
  InProcessPlugin,
  PluginDeps,
  PluginRequest,
  ValidAttachment,
} from '../plugin-types.ts';
import { createElement, deleteElement, listOwnedElements, type OwnedElement } from './nftables-elements.ts';
import { isLabelOfAny, networkSuffix, ownerLabel } from './owner-label.ts';
import {
  describePort,
  isSameKey,
  mappingElements,
  parsePortmapConfig,
  podAddresses,
  podOf,
  unknownPortmapKey,
  type PortmapConfig,
} from './port-mapping.ts';
import { portRules, portsFamily, portsLastChain, portsTable } from './port-rules.ts';

export class PortmapPlugin implements InProcessPlugin {
  readonly type = 'portmap';
  readonly #turns = new KeyedLock<'rules'>();

  supports(config: Readonly<Record<string, unknown>>): string | undefined {
    return unknownPortmapKey(config);
  }

  /** All ports or none. @throws EngineError failed-precondition naming port and holder when another attachment has it */
  async add(deps: PluginDeps, request: PluginRequest): Promise<CniResult> {
    const config = parsePortmapConfig(request.config);
    const result = requireResult(request);
    if (config.mappings.length === 0) return result;
    const pods = podAddresses(result, request.ifName);
    const elements = mappingElements(config, pods, request);
    if (elements.length === 0) return result;
    using _ = await this.#turns.acquire('rules');
    await create(elements);
    await forgetFlows(config);
    if (!config.snat) return result;
    await reflectToPod(deps, result);
    await routeLoopback(deps, pods);
    return result;
  }

  async del(_deps: PluginDeps, request: PluginRequest): Promise<void> {
    const config = parsePortmapConfig(request.config);
    if (config.mappings.length === 0) return;
    const label = ownerLabel(config.network, request.containerId, request.ifName);
    await this.#remove((comment) => comment === label);
    await forgetFlows(config);
  }

  async check(_deps: PluginDeps, request: PluginRequest): Promise<void> {
    const config = parsePortmapConfig(request.config);
    const wanted = mappingElements(config, podAddresses(requireResult(request), request.ifName), request);
    if (wanted.length === 0) return;
    const present = (await listOwnedElements(portsFamily, portsTable)) ?? [];
    const missing = wanted.find(
      (element) => !present.some((each) => isSameKey(each, element) && each.comment === element.comment),
    );
    if (missing === undefined) return;
    const port = describePort(missing) ?? missing.set;
    throw new EngineError('failed-precondition', `host port ${port} does not lead to the container any more`);
  }

  async gc(
    _deps: PluginDeps,
    config: Readonly<Record<string, unknown>>,
    valid: readonly ValidAttachment[],
  ): Promise<void> {
    const { network } = parsePortmapConfig(config);
    const suffix = networkSuffix(network);
    const labels = new Set(valid.map((each) => ownerLabel(network, each.containerID, each.ifname)));
    await this.#remove((comment) => comment.endsWith(suffix) && !labels.has(comment));
  }

  async sweep(_deps: PluginDeps, knownContainerIds: ReadonlySet<string>): Promise<void> {
    const isKnown = isLabelOfAny(knownContainerIds);
    await this.#remove((comment) => !isKnown(comment));
  }

  async #remove(isGone: (comment: string) => boolean): Promise<void> {
    using _ = await this.#turns.acquire('rules');
    if (!(await hasNftablesChain(portsFamily, portsTable, portsLastChain))) return;
    const elements = (await listOwnedElements(portsFamily, portsTable)) ?? [];
    const gone = elements.filter(({ comment }) => isGone(comment));
    if (gone.length === 0) return;
    const commands =
      gone.length === elements.length
        ? [{ delete: { table: { family: portsFamily, name: portsTable } } }]
        : gone.map((element) => deleteElement(portsFamily, portsTable, element));
    try {
      await applyNftables(commands);
    } catch (error) {
      // Flushed by somebody else in between.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}

function requireResult(request: PluginRequest): CniResult {
  if (request.prevResult !== undefined) return request.prevResult;
  throw new EngineError(
    'failed-precondition',
    'portmap stands behind another plugin in a list: it needs a result',
  );
}

async function create(elements: readonly OwnedElement[]): Promise<void> {
  const commands = elements.map((element) => createElement(portsFamily, portsTable, element));
  if (!(await hasNftablesChain(portsFamily, portsTable, portsLastChain))) await applyNftables(portRules());
  try {
    await applyNftables(commands);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    await applyNftables([...(await removalOfStale(elements)), ...commands]);
  }
}

/** The address has a new owner, so what still leads to it is of one that is gone; anything else is a conflict. */
async function removalOfStale(elements: readonly OwnedElement[]): Promise<object[]> {
  const present = (await listOwnedElements(portsFamily, portsTable)) ?? [];
  const pods = new Set(elements.map((element) => podOf(element)));
  for (const element of elements) {
    const other = present.find((each) => isSameKey(each, element) && !pods.has(podOf(each)));
    if (other === undefined) continue;
    throw new EngineError(
      'failed-precondition',
      `host port ${describePort(element) ?? element.set} is taken by ${podOf(other) ?? '?'} (${other.comment})`,
    );
  }
  return present
    .filter((element) => pods.has(podOf(element)))
    .map((element) => deleteElement(portsFamily, portsTable, element));
}

/** Lets 127.0.0.0/8 leave through the links that lead to the pods. */
async function routeLoopback(deps: PluginDeps, pods: ReturnType<typeof podAddresses>): Promise<void> {
  const pod = pods.find(({ address }) => address.family === 4);
  const index = pod === undefined ? undefined : (await lookupRoute(deps.route, pod.address))?.index;
  const link = index === undefined ? undefined : await getLink(deps.route, index);
  if (link === undefined || link.name === 'lo') return;
  deps.writeSysctl(`net/ipv4/conf/${link.name}/route_localnet`, '1');
}

/**
 * Where bridged packets pass by the IP rules too (br_netfilter), a pod that asks for its own host port is answered by
 * the bridge, which sends nothing back to the port that it came from unless that port is a hairpin.
 */
async function reflectToPod(deps: PluginDeps, result: CniResult): Promise<void> {
  for (const { name, sandbox } of result.interfaces) {
    const link = sandbox === undefined ? await getLink(deps.route, name) : undefined;
    if (link?.kind !== 'veth' || link.bridgePort === undefined || link.bridgePort.hairpin) continue;
    await setBridgePort(deps.route, { index: link.index, hairpin: true });
  }
}

/** UDP senders that began before keep the way that the kernel remembers, until it forgets. Best effort: needs conntrack(8). */
async function forgetFlows(config: PortmapConfig): Promise<void> {
  const ports = new Set(
    config.mappings.filter(({ protocol }) => protocol === 'udp').map(({ hostPort }) => String(hostPort)),
  );
  for (const port of ports) {
    try {
      await runCommand(['conntrack', '-D', '-p', 'udp', '--orig-port-dst', port], { timeoutMs: 10_000 });
    } catch {
      // Not installed, or too slow: the flows end by themselves.
      return;
    }
  }
}
