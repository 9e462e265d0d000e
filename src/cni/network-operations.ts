/**
 * ADD and DEL of a whole list. Each attachment is recorded with
 * its configuration and with who made it, so that DEL undoes it in the same way whatever the configuration says by then.
 */
import { statfs } from 'node:fs/promises';
import { EngineError, messageOf } from '../lib/errors.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { interfaceNamePattern, namePattern, parseNetworkList, type NetworkList } from './network-list.ts';
import type { OperationGate } from './operation-gate.ts';
import {
  bindList,
  callPlugin,
  releaseNetwork,
  type Attachment,
  type BoundList,
  type PluginHost,
} from './plugin-chain.ts';
import { PluginError, pluginCodes } from './plugin-error.ts';
import type { CniResult } from './plugin-types.ts';
import type { AttachmentCache, CachedAttachment } from './result-cache.ts';
import { isAtLeast } from './versions.ts';

export interface CniDeps extends PluginHost {
  readonly gate: OperationGate;
  readonly attachments: AttachmentCache;
  /** Told what of a network without attachments could not be taken away: no operation fails for it. */
  readonly onLeftBehind: (error: unknown) => void;
}

/**
 * Attaches a container: the plugins in order, each given the result of the one before. When one fails, it and those
 * before it are undone in reverse; if that fails too, the record stays for a later DEL.
 *
 * @throws EngineError already-exists when the container is attached there under this interface name
 * @throws PluginError of the plugin that failed
 */
export async function addNetwork(
  deps: CniDeps,
  args: {
    /** Asked when the operation's turn has come: the network may be moved while it waits. */
    readonly list: () => Promise<NetworkList>;
    readonly attachment: Attachment;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<CniResult> {
  const { attachment, signal } = args;
  checkNames(attachment);
  return await deps.gate.onContainer(attachment.containerId, signal, async () => {
    const list = await args.list();
    const bound = await bindList(deps, list, signal);
    const { implementation, version: cniVersion } = bound;
    const { name: networkName, document: config } = list;
    const begun = { ...attachment, networkName, config, cniVersion, implementation, result: undefined };
    if (findCached(deps, begun) !== undefined) {
      throw new EngineError('already-exists', `${describe(begun)} exists already`);
    }
    await phase('record', () => deps.attachments.put(begun));
    const result = await addInOrder(deps, bound, begun, signal);
    await complete(deps, bound, { ...begun, result });
    return result;
  });
}

async function addInOrder(
  deps: CniDeps,
  bound: BoundList,
  begun: CachedAttachment,
  signal?: AbortSignal,
): Promise<CniResult> {
  let result: CniResult | undefined;
  for (const [index, plugin] of bound.list.plugins.entries()) {
    try {
      signal?.throwIfAborted();
      result = await callPlugin(
        deps,
        bound,
        { command: 'ADD', plugin, attachment: begun, prevResult: result },
        signal,
      );
    } catch (error) {
      const plugins = bound.list.plugins.slice(0, index + 1);
      await undoAdd(deps, { ...bound, list: { ...bound.list, plugins } }, { ...begun, result }, error);
      throw error;
    }
  }
  if (result === undefined) throw new EngineError('internal', `${describe(begun)}: no plugin gave a result`);
  return result;
}

/** The attachment works but could not be recorded (a full disk): without a record nobody would undo it. */
async function complete(deps: CniDeps, bound: BoundList, attachment: CachedAttachment): Promise<void> {
  try {
    await phase('record', () => deps.attachments.put(attachment));
  } catch (error) {
    await undoAdd(deps, bound, attachment, error);
    throw error;
  }
}

async function undoAdd(
  deps: CniDeps,
  bound: BoundList,
  attachment: CachedAttachment,
  reason: unknown,
): Promise<void> {
  try {
    await delInReverse(deps, bound, attachment, isRefusal(reason) ? reason.plugin : undefined);
    await forget(deps, bound, attachment);
  } catch (undoError) {
    throw new SuppressedError(
      undoError,
      reason,
      `${messageOf(reason)}; and undoing it failed: ${messageOf(undoError)}`,
    );
  }
}

/**
 * Detaches: the plugins of the recorded configuration in reverse, by whom ADD was done, each given the final result.
 * Stops at the first plugin that fails and keeps the record: an address is not given back while a port still leads to it.
 * Idempotent; works when the namespace is gone. `current` stands in for a record without a readable configuration.
 *
 * @throws PluginError
 */
export async function delNetwork(
  deps: CniDeps,
  args: {
    readonly attachment: CachedAttachment;
    readonly current?: NetworkList | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<void> {
  const { attachment, signal } = args;
  await deps.gate.onContainer(attachment.containerId, signal, async () => {
    await delRecorded(deps, findCached(deps, attachment), args.current);
  });
}

/** DEL by the record; the caller keeps other operations away from the container. */
export async function delRecorded(
  deps: CniDeps,
  attachment: CachedAttachment | undefined,
  current: NetworkList | undefined,
): Promise<void> {
  // Another caller was faster.
  if (attachment === undefined) return;
  const bound = await bindRecorded(deps, attachment, current);
  await delInReverse(deps, bound, attachment);
  await forget(deps, bound, attachment);
}

/** The record goes, and with a network's last record what was made for the network. */
async function forget(deps: CniDeps, bound: BoundList, attachment: CachedAttachment): Promise<void> {
  await phase('record', () => deps.attachments.remove(attachment));
  // An ADD that has begun has its record already; one that begins now finds or makes what it needs.
  if (deps.attachments.all().some(({ networkName }) => networkName === attachment.networkName)) return;
  try {
    await phase('remove the network', () => releaseNetwork(deps, bound));
  } catch (error) {
    deps.onLeftBehind(error);
  }
}

/**
 * A plugin that refused to ADD and refuses DEL for the same configuration must not keep the ones before it from being
 * undone: `refusing` is its name. One that died or hung may have left something, and stops the undoing.
 */
async function delInReverse(
  deps: CniDeps,
  bound: BoundList,
  attachment: CachedAttachment,
  refusing?: string,
): Promise<void> {
  const netnsPath = await livingNamespace(attachment.netnsPath);
  const prevResult = isAtLeast(bound.version, '0.4.0') ? attachment.result : undefined;
  for (const plugin of bound.list.plugins.toReversed()) {
    try {
      await callPlugin(deps, bound, {
        command: 'DEL',
        plugin,
        attachment: { ...attachment, netnsPath },
        prevResult,
      });
    } catch (error) {
      // The plugin says that there is nothing of this container: that is what DEL wants.
      if (error instanceof PluginError && error.pluginCode === pluginCodes.unknownContainer) continue;
      if (isRefusal(error) && error.plugin === refusing) continue;
      throw error;
    }
  }
}

/** The plugin said no in its own words, or is not there: it did not die, hang or get killed in the middle. */
function isRefusal(error: unknown): error is PluginError {
  if (!(error instanceof PluginError)) return false;
  return (
    error.pluginCode !== undefined ||
    error.kind === 'invalid-argument' ||
    error.kind === 'failed-precondition'
  );
}

/** The list, version and implementation that ADD used. */
export async function bindRecorded(
  deps: CniDeps,
  attachment: CachedAttachment,
  current: NetworkList | undefined,
): Promise<BoundList> {
  const list = recordedList(attachment, current);
  // Programs cannot undo what was done here: they miss the firewall rules that they would have made, and fail.
  const implementation = attachment.implementation ?? 'exec';
  const version = attachment.cniVersion ?? (await bindList(deps, list)).version;
  return { list, version, implementation };
}

function recordedList(attachment: CachedAttachment, current: NetworkList | undefined): NetworkList {
  try {
    return parseNetworkList({ source: `of the recorded ${describe(attachment)}`, text: attachment.config });
  } catch (error) {
    if (current?.name === attachment.networkName) return current;
    throw error;
  }
}

function findCached(
  deps: CniDeps,
  { containerId, networkName, ifName }: CachedAttachment,
): CachedAttachment | undefined {
  const cached = deps.attachments.ofContainer(containerId);
  return cached.find((entry) => entry.networkName === networkName && entry.ifName === ifName);
}

const nsfsMagic = 0x6e736673;

/** The path if a namespace is pinned there. After a reboot or a half-done unpin it is gone or a plain file. */
export async function livingNamespace(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return (await statfs(path)).type === nsfsMagic ? path : undefined;
  } catch {
    return undefined;
  }
}

function checkNames({ containerId, ifName }: Attachment): void {
  if (!namePattern.test(containerId))
    throw new EngineError(
      'invalid-argument',
      `${JSON.stringify(containerId)} cannot be a container id in CNI`,
    );
  if (!interfaceNamePattern.test(ifName))
    throw new EngineError('invalid-argument', `${JSON.stringify(ifName)} cannot be an interface name`);
}

function describe({ containerId, networkName, ifName }: CachedAttachment): string {
  return `attachment of ${containerId} to network ${networkName} as ${ifName}`;
}
