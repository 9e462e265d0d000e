/** One call of one plugin of a list, by its program or in-process: the derived request in, the result in the shape of 1.1.0 out. */
import { EngineError, messageOf } from '../lib/errors.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { execPlugin, findPlugin, type PluginCommand, type PluginVersions } from './exec-plugin.ts';
import type { NetworkList, PluginConfig } from './network-list.ts';
import { PluginError } from './plugin-error.ts';
import type {
  CniResult,
  InProcessPlugin,
  PluginDeps,
  PluginRequest,
  ValidAttachment,
} from './plugin-types.ts';
import type { Implementation } from './result-cache.ts';
import { readResult, writeResult } from './result.ts';
import { newestCommon, spokenVersions } from './versions.ts';

/** What calling plugins needs. */
export interface PluginHost {
  readonly binDirs: readonly string[];
  readonly inProcess: readonly InProcessPlugin[];
  readonly pluginDeps: PluginDeps;
  readonly versions: PluginVersions;
  /** For one call of a plugin's program. */
  readonly timeoutMs: number;
}

/** One attachment, as every plugin of the list is told. */
export interface Attachment {
  readonly containerId: string;
  /** Undefined in a DEL whose namespace is gone. */
  readonly netnsPath: string | undefined;
  readonly ifName: string;
  readonly cniArgs: Readonly<Record<string, string>>;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
}

/** A list with the decisions made for it. */
export interface BoundList {
  readonly list: NetworkList;
  readonly version: string;
  readonly implementation: Implementation;
}

/** The fast path takes the whole list or nothing: undefined when it can, else what it does not know. */
export function fastPathObstacle(host: Pick<PluginHost, 'inProcess'>, list: NetworkList): string | undefined {
  for (const config of list.plugins) {
    const plugin = host.inProcess.find((candidate) => candidate.type === config.type);
    if (plugin === undefined) return config.type;
    const key = plugin.supports(config);
    if (key !== undefined) return `${config.type}: ${key}`;
  }
  return undefined;
}

/**
 * Chooses implementation and version: the newest that the list declares and all its plugins speak. A list that
 * declares one version only is taken at its word; a plugin that does not speak it says so itself.
 */
export async function bindList(
  host: PluginHost,
  list: NetworkList,
  signal?: AbortSignal,
): Promise<BoundList> {
  const [newest = spokenVersions[0] ?? ''] = list.versions.slice(-1);
  if (fastPathObstacle(host, list) === undefined)
    return { list, version: newest, implementation: 'in-process' };
  if (list.versions.length === 1) return { list, version: newest, implementation: 'exec' };
  const spoken = await phase('versions of plugins', () =>
    Promise.all(list.plugins.map(async ({ type }) => await host.versions.of(host, type, signal))),
  );
  const version = newestCommon(list.versions, ...spoken);
  if (version !== undefined) return { list, version, implementation: 'exec' };
  throw new EngineError(
    'failed-precondition',
    `network ${list.name} (${list.source}): no CNI version of ${list.versions.join(', ')} is spoken by all its plugins`,
  );
}

/** True when every program of the list is there and speaks its version. @throws PluginError that says what is missing */
export async function checkPrograms(
  host: PluginHost,
  { list, version }: BoundList,
  signal?: AbortSignal,
): Promise<void> {
  for (const { type } of list.plugins) {
    await findPlugin(type, host.binDirs);
    const spoken = await host.versions.of(host, type, signal);
    if (spoken.includes(version)) continue;
    throw new PluginError(
      type,
      `CNI plugin ${type} does not speak version ${version} of ${list.source} (it speaks ${spoken.join(', ')})`,
      {
        kind: 'failed-precondition',
      },
    );
  }
}

/** One ADD, DEL or CHECK of one plugin. ADD gives a result; the others give undefined. */
export async function callPlugin(
  host: PluginHost,
  bound: BoundList,
  step: {
    readonly command: 'ADD' | 'DEL' | 'CHECK';
    readonly plugin: PluginConfig;
    readonly attachment: Attachment;
    readonly prevResult: CniResult | undefined;
  },
  signal?: AbortSignal,
): Promise<CniResult | undefined> {
  const { command, plugin, attachment, prevResult } = step;
  const config = deriveConfig(bound, plugin, attachment.capabilityArgs, prevResult);
  if (bound.implementation === 'in-process') {
    const request: PluginRequest = {
      config,
      containerId: attachment.containerId,
      netnsPath: attachment.netnsPath,
      ifName: attachment.ifName,
      args: attachment.cniArgs,
      ...(prevResult === undefined ? {} : { prevResult }),
    };
    return await phase(`plugin ${plugin.type}`, () => callInProcess(host, plugin.type, command, request));
  }
  const { cniArgs, containerId, netnsPath, ifName } = attachment;
  const call = { command, type: plugin.type, config, containerId, netnsPath, ifName, args: cniArgs };
  const answer = await phase(`plugin program ${plugin.type}`, () => execPlugin(host, call, signal));
  return command === 'ADD' ? resultOf(plugin.type, answer, bound.version) : undefined;
}

/** One STATUS or GC of one plugin. */
export async function callOnNetwork(
  host: PluginHost,
  bound: BoundList,
  step: {
    readonly command: 'STATUS' | 'GC';
    readonly plugin: PluginConfig;
    readonly valid?: readonly ValidAttachment[];
  },
  signal?: AbortSignal,
): Promise<void> {
  const { command, plugin, valid = [] } = step;
  // The specification's text and its library disagree on the key of GC: plugins look for either.
  const attachments = { 'cni.dev/valid-attachments': valid, 'cni.dev/attachments': valid };
  const config = { ...deriveConfig(bound, plugin, {}, undefined), ...(command === 'GC' ? attachments : {}) };
  if (bound.implementation === 'exec') {
    await execPlugin(host, { command, type: plugin.type, config }, signal);
    return;
  }
  const found = inProcessPlugin(host, plugin.type);
  await named(plugin.type, command, async () => {
    if (command === 'STATUS') await found.status?.(host.pluginDeps, config);
    else await found.gc?.(host.pluginDeps, config, valid);
  });
}

/**
 * The network's last attachment has gone: what was made here for the network as a whole goes too. Programs have no such
 * command, and leave it.
 */
export async function releaseNetwork(host: PluginHost, bound: BoundList): Promise<void> {
  if (bound.implementation === 'exec') return;
  for (const plugin of bound.list.plugins.toReversed()) {
    const config = deriveConfig(bound, plugin, {}, undefined);
    await inProcessPlugin(host, plugin.type).release?.(host.pluginDeps, config);
  }
}

/** The plugin's own keys with what the protocol adds; capability arguments only where the plugin declares them. */
function deriveConfig(
  bound: BoundList,
  plugin: PluginConfig,
  capabilityArgs: Readonly<Record<string, unknown>>,
  prevResult: CniResult | undefined,
): Record<string, unknown> {
  const { capabilities, ...own } = plugin;
  const declared = Object.entries(capabilityArgs).filter(([name]) => capabilities?.[name] === true);
  return {
    ...own,
    cniVersion: bound.version,
    name: bound.list.name,
    ...(declared.length === 0 ? {} : { runtimeConfig: Object.fromEntries(declared) }),
    ...(prevResult === undefined ? {} : { prevResult: writeResult(prevResult, bound.version) }),
  };
}

async function callInProcess(
  host: PluginHost,
  type: string,
  command: 'ADD' | 'DEL' | 'CHECK',
  request: PluginRequest,
): Promise<CniResult | undefined> {
  const plugin = inProcessPlugin(host, type);
  return await named(type, command, async () => {
    switch (command) {
      case 'ADD':
        return await plugin.add(host.pluginDeps, request);
      case 'DEL':
        await plugin.del(host.pluginDeps, request);
        return undefined;
      case 'CHECK':
        await plugin.check(host.pluginDeps, request);
        return undefined;
    }
  });
}

function inProcessPlugin(host: PluginHost, type: string): InProcessPlugin {
  const plugin = host.inProcess.find((candidate) => candidate.type === type);
  if (plugin !== undefined) return plugin;
  throw new PluginError(type, `CNI plugin ${type} is not built in`, { kind: 'failed-precondition' });
}

/** Puts the plugin's name into whatever is thrown. */
async function named<T>(type: string, command: PluginCommand, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { kind } = EngineError.from(error);
    throw new PluginError(type, `network plugin ${type}, ${command}: ${messageOf(error)}`, {
      kind,
      cause: error,
    });
  }
}

function resultOf(type: string, answer: unknown, version: string): CniResult {
  if (answer === undefined) throw new PluginError(type, `CNI plugin ${type}, ADD: it gave no result`);
  try {
    return readResult(answer, version);
  } catch (error) {
    throw new PluginError(type, `CNI plugin ${type}, ADD: ${messageOf(error)}`, { cause: error });
  }
}
