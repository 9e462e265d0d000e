import {
  type Container,
  type ContainerAdjustment,
  type ContainerEviction,
  type ContainerUpdate,
  type CreateContainerRequest,
  LinuxResources,
  type PodSandbox,
  ValidateContainerAdjustmentRequest,
} from '../gen/nri/v1alpha1/api.ts';
import { messageOf } from '../lib/errors.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import type { Log } from '../telemetry/log.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { PluginRequest } from './connection.ts';
import type { PluginEvent } from './events.ts';
import { emptyAdjustment, mergeAdjustment } from './merge/adjustment.ts';
import { Owners, ownersToWire } from './merge/owners.ts';
import { mergeResources } from './merge/resources.ts';
import { CollectedUpdates } from './merge/updates.ts';
import type { Plugin } from './plugin.ts';

/** What plugins ask for containers that exist. */
export interface Changes {
  readonly updates: readonly ContainerUpdate[];
  readonly evictions: readonly ContainerEviction[];
}

/** When and how an event reaches the plugins. */
export interface Telling {
  /** Of the request that the event belongs to: it gives up its turn when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called in the moment in which it is settled which plugins hear of the event: all that join later are told of its
   * object as something that exists.
   */
  readonly begun?: () => void;
}

/**
 * The plugins that take part, in the order of their indices. One event at a time is told, to one plugin after the other, as
 * the plugins are made for: what they ask of other containers rests on what they have been told before.
 */
export class PluginSet {
  readonly #log: Log;
  readonly #turns = new KeyedLock<'turn'>();
  #plugins: readonly Plugin[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  get isEmpty(): boolean {
    return this.#plugins.length === 0;
  }

  /** From now on events wait until the plugin has been told what exists; the caller takes note of that in the same moment. */
  add(plugin: Plugin): void {
    this.#plugins = [...this.#plugins, plugin].toSorted((one, other) => compare(one.index, other.index));
    this.#log.info(
      { plugin: plugin.label, plugins: this.#plugins.map(({ label }) => label) },
      'an NRI plugin joins',
    );
  }

  remove(plugin: Plugin): void {
    this.#plugins = this.#plugins.filter((other) => other !== plugin);
  }

  /** Says farewell to all, who may take no longer than that to answer, and ends the connections. */
  async shutDown(timeoutMs: number): Promise<void> {
    const plugins = this.#plugins;
    await Promise.allSettled(plugins.map(async (plugin) => await plugin.call('shutdown', {}, timeoutMs)));
    for (const plugin of plugins) plugin.close('the engine ends');
  }

  /** Tells of an event that plugins can refuse. @throws EngineError failed-precondition with the words of the one that does */
  async ask<E extends PluginEvent>(
    event: E,
    request: () => Promise<PluginRequest<E>>,
    { signal, begun }: Telling = {},
  ): Promise<void> {
    using _turn = await this.#turn(signal);
    begun?.();
    const plugins = this.#listeners(event);
    if (plugins.length === 0) return;
    const message = await request();
    for (const plugin of plugins) await plugin.deliver(event, message);
  }

  /** Tells of something that has happened; a plugin that refuses it is logged. Who hears it is settled now, though it may wait for its turn. */
  async tell<E extends PluginEvent>(event: E, request: () => Promise<PluginRequest<E>>): Promise<void> {
    const plugins = this.#listeners(event);
    if (plugins.length === 0) return;
    using _turn = await this.#turn(undefined);
    await this.#logged(async () => {
      const message = await request();
      for (const plugin of plugins)
        await this.#logged(async () => void (await plugin.deliver(event, message)));
    });
  }

  /**
   * Tells of a container that is to be created and collects what the plugins make of it; undefined when none wants anything
   * changed. `request.container` becomes what they made of it.
   *
   * @throws EngineError failed-precondition when a plugin or a validator refuses, or two plugins set the same thing
   */
  async createContainer(
    request: CreateContainerRequest & { container: Container },
    { signal, begun }: Telling,
  ): Promise<Changes & { readonly adjust: ContainerAdjustment | undefined }> {
    using _turn = await this.#turn(signal);
    begun?.();
    const { container } = request;
    const plugins = this.#listeners('createContainer');
    const validators = this.#listeners('validateContainerAdjustment');
    const pristine = validators.length === 0 ? undefined : structuredClone(container);
    const owners = new Map([[container.id, new Owners()]]);
    const collected = emptyAdjustment(container, owners.get(container.id) ?? new Owners());
    const changes = new CollectedUpdates(owners, container.id);
    let isAdjusted = false;
    for (const plugin of plugins) {
      const answer = await plugin.deliver('createContainer', request);
      if (answer?.adjust !== undefined) {
        mergeAdjustment(collected, answer.adjust, plugin.label);
        isAdjusted = true;
      }
      if (answer !== undefined) changes.add(answer.update, answer.evict, plugin.label);
    }
    const { adjust } = collected;
    const { updates, evictions } = changes;
    const verdictOn = ValidateContainerAdjustmentRequest.fromPartial({
      pod: request.pod,
      container: pristine,
      adjust,
      update: updates,
      owners: ownersToWire(owners),
      plugins: plugins.map(({ name, index }) => ({ name, index })),
    });
    for (const validator of validators) await validate(validator, verdictOn);
    return { adjust: isAdjusted ? adjust : undefined, updates, evictions };
  }

  /**
   * Tells of new limits of a container. What comes back are those limits as the plugins changed them, and what they ask for others.
   *
   * @throws EngineError failed-precondition when a plugin refuses, or two plugins set the same limit
   */
  async updateContainer(
    { pod, container, resources }: { pod: PodSandbox; container: Container; resources: LinuxResources },
    signal: AbortSignal,
  ): Promise<Changes & { readonly resources: LinuxResources }> {
    using _turn = await this.#turn(signal);
    const owners = new Owners();
    const changes = new CollectedUpdates(new Map());
    const own = LinuxResources.fromPartial({});
    const linuxResources = structuredClone(resources);
    for (const plugin of this.#listeners('updateContainer')) {
      const answer = await plugin.deliver('updateContainer', { pod, container, linuxResources });
      for (const update of answer?.update ?? []) {
        if (update.containerId !== container.id) changes.add([update], [], plugin.label);
        else if (update.linux?.resources !== undefined)
          mergeResources([own, linuxResources], update.linux.resources, { owners, plugin: plugin.label });
      }
      changes.add([], answer?.evict ?? [], plugin.label);
    }
    return { resources: own, updates: changes.updates, evictions: changes.evictions };
  }

  /** Tells of a container that has stopped; a plugin that refuses or is in conflict is logged. */
  async stopContainer(request: () => Promise<PluginRequest<'stopContainer'>>): Promise<Changes> {
    const plugins = this.#listeners('stopContainer');
    const changes = new CollectedUpdates(new Map());
    if (plugins.length === 0) return changes;
    using _turn = await this.#turn(undefined);
    await this.#logged(async () => {
      const message = await request();
      for (const plugin of plugins) {
        await this.#logged(async () => {
          const answer = await plugin.deliver('stopContainer', message);
          if (answer !== undefined) changes.add(answer.update, [], plugin.label);
        });
      }
    });
    return changes;
  }

  #listeners(event: PluginEvent): Plugin[] {
    return this.#plugins.filter((plugin) => plugin.listensTo(event));
  }

  async #turn(signal: AbortSignal | undefined): Promise<Disposable | undefined> {
    if (this.isEmpty) return undefined;
    return await phase('wait for NRI plugins', () => this.#turns.acquire('turn', signal));
  }

  async #logged(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'telling NRI plugins what has happened');
    }
  }
}

/** A validator that does not answer has not agreed: the request fails. */
async function validate(
  validator: Plugin,
  request: PluginRequest<'validateContainerAdjustment'>,
): Promise<void> {
  const verdict = await validator.deliver('validateContainerAdjustment', request);
  if (verdict === undefined) throw validator.refusal('validateContainerAdjustment', 'it did not answer');
  if (verdict.reject) throw validator.refusal('validateContainerAdjustment', verdict.reason);
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
