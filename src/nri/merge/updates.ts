import { ContainerUpdate, type ContainerEviction, type LinuxResources } from '../../gen/nri/v1alpha1/api.ts';
import { EngineError } from '../../lib/errors.ts';
import { Owners } from './owners.ts';
import { mergeResources } from './resources.ts';

/** What plugins asked, while they were told of one event, for containers that exist. */
export class CollectedUpdates {
  /** The container that is being created: it is adjusted, not updated. */
  readonly #created: string | undefined;
  readonly #updates = new Map<string, ContainerUpdate>();
  readonly #evictions: ContainerEviction[] = [];
  readonly #owners: Map<string, Owners>;

  constructor(owners: Map<string, Owners>, created?: string) {
    this.#owners = owners;
    this.#created = created;
  }

  /**
   * Adds what one plugin asks for. An update whose failure the plugin does not mind is left out when it is in conflict.
   *
   * @throws EngineError failed-precondition when two plugins set the same limit of a container, or it is the one that is being created
   */
  add(updates: readonly ContainerUpdate[], evictions: readonly ContainerEviction[], plugin: string): void {
    for (const update of updates) this.#add(update, plugin);
    this.#evictions.push(...evictions);
  }

  get updates(): ContainerUpdate[] {
    return [...this.#updates.values()];
  }

  get evictions(): readonly ContainerEviction[] {
    return this.#evictions;
  }

  #add(update: ContainerUpdate, plugin: string): void {
    const { containerId, linux, ignoreFailure } = update;
    if (containerId === this.#created)
      throw new EngineError(
        'failed-precondition',
        `NRI plugin ${plugin} updates container ${containerId} while that is being created`,
      );
    if (linux?.resources === undefined) return;
    const old = this.#updates.get(containerId);
    const owners = this.#owners.get(containerId) ?? new Owners();
    this.#owners.set(containerId, owners);
    const merged = ContainerUpdate.fromPartial({
      containerId,
      linux: { resources: old?.linux?.resources ?? {} },
      ignoreFailure: (old?.ignoreFailure ?? true) && ignoreFailure,
    });
    try {
      mergeResources(resourcesOf(merged), linux.resources, { owners, plugin });
    } catch (error) {
      if (ignoreFailure) return;
      throw error;
    }
    this.#updates.set(containerId, merged);
  }
}

function resourcesOf({ linux }: ContainerUpdate): LinuxResources[] {
  return linux?.resources === undefined ? [] : [linux.resources];
}
