import { type Container as ContainerView, PodSandbox } from '../../gen/nri/v1alpha1/api.ts';
import type { HostFacts } from '../../containers/spec/host-facts.ts';
import { isAlive, type Container, type ContainerStore } from '../../containers/container.ts';
import type { ContainerDeps } from '../../containers/deps.ts';
import { lookUpCdi } from '../../containers/prepare-spec.ts';
import { adjustSpec } from '../../containers/spec/adjust/adjust-spec.ts';
import { lookUpNamespaces } from '../../containers/spec/adjust/joined-namespaces.ts';
import { requestedCdiDevices } from '../../containers/spec/cdi.ts';
import { mergeResources } from '../../containers/spec/resources.ts';
import type { ContainerId, ImageId } from '../../lib/ids.ts';
import { untilAborted } from '../../lib/keyed-lock.ts';
import type { Changes, PluginSet } from '../../nri/plugin-set.ts';
import type { Spec } from '../../oci/spec-types.ts';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import { adjustmentFromWire } from './adjustment.ts';
import { checkedCgroupsPath } from './cgroups-path.ts';
import type { KnownSpecs } from './known-specs.ts';
import { resourcesFromWire, resourcesToWire } from './resources.ts';
import { containerView, podView } from './views.ts';

export interface ContainerPluginsDeps {
  readonly plugins: PluginSet;
  readonly specs: KnownSpecs;
  readonly host: HostFacts;
  readonly sandboxOf: (container: Container) => Sandbox | undefined;
  /** Of the image's manifest or index. */
  readonly imageDigest: (id: ImageId) => string | undefined;
  /** Does what plugins ask for other containers. */
  readonly apply: (changes: Changes) => Promise<unknown>;
}

interface Draft {
  readonly container: Container;
  readonly sandbox: Sandbox;
  readonly spec: Spec;
}

/** The containers' side of the plugins. */
export class ContainerPlugins {
  readonly #deps: ContainerPluginsDeps;
  /** Those that plugins may have been told of and that are not listed yet, as they are to be shown. */
  readonly #begun = new Map<ContainerId, () => ContainerView>();

  constructor(deps: ContainerPluginsDeps) {
    this.#deps = deps;
  }

  readonly hooks: ContainerDeps['plugins'] = {
    creating: async (draft, signal) => await this.#creating(draft, signal),
    abandoned: (container) => this.#abandoned(container),
    starting: async (container, signal) =>
      await this.#deps.plugins.ask('startContainer', async () => await this.#message(container), { signal }),
    updating: async (container, resources, signal) => {
      const { plugins, apply } = this.#deps;
      if (plugins.isEmpty) return resources;
      const message = { ...(await this.#message(container)), resources: resourcesToWire(resources) };
      const answer = await plugins.updateContainer(message, signal);
      await untilAborted(apply(answer), signal);
      return mergeResources(resources, resourcesFromWire(answer.resources));
    },
    updated: (container) => this.#tell('postUpdateContainer', container),
  };

  /** Hears of what containers do by themselves. */
  follow(store: ContainerStore): Disposable {
    return store.events.subscribe(({ kind, container }) => {
      this.#begun.delete(container.id);
      if (this.#deps.plugins.isEmpty) this.#deps.specs.clear();
      else if (kind === 'created') this.#tell('postCreateContainer', container);
      else if (kind === 'started') this.#tell('postStartContainer', container);
      else if (kind === 'stopped') void this.#stopped(container);
      else void this.#removed(container);
    });
  }

  /** What a plugin that joins now is to be told: noted when this is called, read from the disk after that. */
  async existing(store: ContainerStore): Promise<ContainerView[]> {
    const begun = [...this.#begun.values()];
    const living = store.listed().filter(isAlive);
    const views: ContainerView[] = [];
    for (const container of living) views.push(await this.#view(container));
    return [...views, ...begun.map((view) => view())];
  }

  async #creating(draft: Draft, signal: AbortSignal): Promise<{ container: Container; spec: Spec }> {
    const { plugins, apply, specs } = this.#deps;
    const { container, sandbox, spec } = draft;
    const { id } = container;
    if (plugins.isEmpty) {
      this.#begun.set(id, () =>
        containerView({ container, spec, imageDigest: this.#imageDigest(container) }),
      );
      return draft;
    }
    const view = containerView({ container, spec, imageDigest: this.#imageDigest(container) });
    const begun = (): void => void this.#begun.set(id, () => view);
    const { adjust, ...changes } = await plugins.createContainer(
      { pod: podView(sandbox), container: view },
      { signal, begun },
    );
    await untilAborted(apply(changes), signal);
    const adjusted = adjust === undefined ? draft : await this.#adjusted(draft, adjustmentFromWire(adjust));
    specs.keep(id, adjusted.spec);
    return adjusted;
  }

  async #adjusted(
    { container, sandbox, spec }: Draft,
    adjustment: ReturnType<typeof adjustmentFromWire>,
  ): Promise<{ container: Container; spec: Spec }> {
    const resources = mergeResources(container.resources, adjustment.resources);
    const cgroupsPath =
      adjustment.cgroupsPath === undefined
        ? container.cgroupsPath
        : checkedCgroupsPath(container.cgroupsPath, adjustment.cgroupsPath, container.id);
    const adjusted = adjustSpec({
      spec,
      adjustment: { ...adjustment, cgroupsPath },
      resources,
      cdi: await lookUpCdi(requestedCdiDevices(adjustment.cdiDevices, {})),
      joined: await lookUpNamespaces(adjustment.namespaces),
      pod: sandbox.config,
      host: this.#deps.host,
    });
    return { container: { ...container, resources, cgroupsPath }, spec: adjusted };
  }

  /** As if it had stopped and been removed: plugins give back what they keep for it. */
  #abandoned(container: Container): void {
    if (!this.#begun.delete(container.id)) return;
    void this.#stopped(container);
    void this.#removed(container);
  }

  async #stopped(container: Container): Promise<void> {
    const { plugins, apply } = this.#deps;
    // Not under the lock of the container that has stopped: its own end must not wait for what is done to others.
    await apply(await plugins.stopContainer(async () => await this.#message(container)));
  }

  async #removed(container: Container): Promise<void> {
    await this.#deps.plugins.tell('removeContainer', async () => await this.#message(container));
    this.#deps.specs.forget(container.id);
  }

  #tell(
    event: 'postCreateContainer' | 'postStartContainer' | 'postUpdateContainer',
    container: Container,
  ): void {
    void this.#deps.plugins.tell(event, async () => await this.#message(container));
  }

  async #message(container: Container): Promise<{ pod: PodSandbox; container: ContainerView }> {
    const sandbox = this.#deps.sandboxOf(container);
    const pod =
      sandbox === undefined ? PodSandbox.fromPartial({ id: container.sandboxId }) : podView(sandbox);
    return { pod, container: await this.#view(container) };
  }

  async #view(container: Container): Promise<ContainerView> {
    const spec = await this.#deps.specs.of(container);
    return containerView({ container, spec, imageDigest: this.#imageDigest(container) });
  }

  #imageDigest({ imageId }: Container): string | undefined {
    return this.#deps.imageDigest(imageId);
  }
}
