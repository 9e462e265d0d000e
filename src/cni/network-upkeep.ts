/** CHECK, STATUS and GC of a whole list: whether what is there is in order, and giving back what nobody owns. */
import type { NetworkList } from './network-list.ts';
import { bindRecorded, delRecorded, livingNamespace, type CniDeps } from './network-operations.ts';
import { bindList, callOnNetwork, callPlugin, checkPrograms, type PluginHost } from './plugin-chain.ts';
import type { ValidAttachment } from './plugin-types.ts';
import type { CachedAttachment } from './result-cache.ts';
import { isAtLeast } from './versions.ts';

/**
 * Asks the plugins whether the attachment is still as ADD left it. A list that disables CHECK, or whose version
 * does not know it, is not asked.
 *
 * @throws PluginError of the first plugin that says no
 */
export async function checkNetwork(
  deps: CniDeps,
  args: { readonly attachment: CachedAttachment; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const { attachment, signal } = args;
  await deps.gate.onContainer(attachment.containerId, signal, async () => {
    const bound = await bindRecorded(deps, attachment, undefined);
    if (bound.list.disableCheck || !isAtLeast(bound.version, '0.4.0')) return;
    for (const plugin of bound.list.plugins) {
      await callPlugin(
        deps,
        bound,
        { command: 'CHECK', plugin, attachment, prevResult: attachment.result },
        signal,
      );
    }
  });
}

/**
 * Whether an ADD can succeed now: every plugin is there, speaks the list's version, and does not say otherwise (STATUS).
 *
 * @throws EngineError that says which plugin is not ready and why
 */
export async function statusNetwork(
  deps: PluginHost,
  args: { readonly list: NetworkList; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const { list, signal } = args;
  const bound = await bindList(deps, list, signal);
  if (bound.implementation === 'exec') await checkPrograms(deps, bound, signal);
  if (bound.implementation === 'exec' && !isAtLeast(bound.version, '1.1.0')) return;
  for (const plugin of list.plugins) {
    await callOnNetwork(deps, bound, { command: 'STATUS', plugin }, signal);
  }
}

/** Who may keep what in a network. */
interface GcArgs {
  readonly list: NetworkList;
  /** Says whether an attachment of ours is to be kept. */
  readonly isValid: (attachment: CachedAttachment) => boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Collects the network's garbage, alone: DEL for each attachment of ours that is not valid any more (few plugins know
 * GC), then GC of each plugin, unless the list disables that. Attachments of other engines in the same cache are valid
 * as long as their namespace lives. Goes on after failures.
 *
 * @returns the failures, for the log
 */
export async function gcNetwork(deps: CniDeps, { list, isValid, signal }: GcArgs): Promise<unknown[]> {
  return await deps.gate.alone(signal, async () => {
    const failures: unknown[] = [];
    const valid: ValidAttachment[] = [];
    for (const attachment of deps.attachments.all()) {
      if (attachment.networkName !== list.name) continue;
      if (await mayStay(attachment, isValid)) {
        valid.push({ containerID: attachment.containerId, ifname: attachment.ifName });
      } else if (attachment.implementation !== undefined) {
        await attempt(failures, async () => await delRecorded(deps, attachment, list));
      }
    }
    if (!list.disableGC) await attempt(failures, async () => await gcPlugins(deps, list, valid, failures));
    return failures;
  });
}

async function gcPlugins(
  deps: CniDeps,
  list: NetworkList,
  valid: readonly ValidAttachment[],
  failures: unknown[],
): Promise<void> {
  const bound = await bindList(deps, list);
  if (bound.implementation === 'exec' && !isAtLeast(bound.version, '1.1.0')) return;
  for (const plugin of list.plugins) {
    await attempt(failures, async () => await callOnNetwork(deps, bound, { command: 'GC', plugin, valid }));
  }
}

/** True for a valid attachment of ours, and for one of another engine whose namespace lives (or is not known). */
export async function mayStay(
  attachment: CachedAttachment,
  isValid: (attachment: CachedAttachment) => boolean,
): Promise<boolean> {
  if (attachment.implementation !== undefined) return isValid(attachment);
  return attachment.netnsPath === undefined || (await livingNamespace(attachment.netnsPath)) !== undefined;
}

async function attempt(failures: unknown[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    failures.push(error);
  }
}
