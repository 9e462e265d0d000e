import type { SandboxDeps } from '../../sandbox/deps.ts';
import type { Sandbox, SandboxStore } from '../../sandbox/sandbox.ts';
import type { SandboxId } from '../../lib/ids.ts';
import type { PluginSet } from '../../nri/plugin-set.ts';
import { resourcesToWire } from './resources.ts';
import { podView } from './views.ts';

/** The pods' side of the plugins. */
export class PodPlugins {
  readonly #plugins: PluginSet;
  /** Those that plugins may have been told of and that are not listed yet. */
  readonly #begun = new Map<SandboxId, Sandbox>();
  /** A stop that failed and is tried again is told once. */
  readonly #stopped = new Set<SandboxId>();

  constructor(plugins: PluginSet) {
    this.#plugins = plugins;
  }

  readonly hooks: SandboxDeps['plugins'] = {
    running: async (sandbox, signal) => {
      const begun = (): void => void this.#begun.set(sandbox.id, sandbox);
      await this.#plugins.ask('runPodSandbox', async () => ({ pod: podView(sandbox) }), { signal, begun });
    },
    abandoned: ({ id }) => {
      const sandbox = this.#begun.get(id);
      if (sandbox === undefined) return;
      this.#begun.delete(id);
      void this.#plugins.tell('stopPodSandbox', async () => ({ pod: podView(sandbox) }));
      void this.#plugins.tell('removePodSandbox', async () => ({ pod: podView(sandbox) }));
    },
    stopping: async (sandbox) => {
      if (this.#plugins.isEmpty || this.#stopped.has(sandbox.id)) return;
      this.#stopped.add(sandbox.id);
      await this.#plugins.tell('stopPodSandbox', async () => ({ pod: podView(sandbox) }));
    },
    updating: async (sandbox, { overhead, resources }, signal) => {
      const request = async () => ({
        pod: podView(sandbox),
        overheadLinuxResources: overhead === undefined ? undefined : resourcesToWire(overhead),
        linuxResources: resources === undefined ? undefined : resourcesToWire(resources),
      });
      await this.#plugins.ask('updatePodSandbox', request, { signal });
    },
    updated: (sandbox) =>
      void this.#plugins.tell('postUpdatePodSandbox', async () => ({ pod: podView(sandbox) })),
  };

  /** Hears of what pods do by themselves. */
  follow(store: SandboxStore): Disposable {
    return store.events.subscribe(({ kind, sandbox }) => {
      this.#begun.delete(sandbox.id);
      if (kind !== 'deleted') return;
      this.#stopped.delete(sandbox.id);
      void this.#plugins.tell('removePodSandbox', async () => ({ pod: podView(sandbox) }));
    });
  }

  /** What a plugin that joins now is to be told. */
  existing(store: SandboxStore): Sandbox[] {
    return [...store.listed().filter(({ state }) => state.name !== 'unknown'), ...this.#begun.values()];
  }
}
