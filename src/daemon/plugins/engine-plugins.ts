/** The plugins of the engine: what they are told, and what is done of what they ask. */
import type { ContainerStore } from '../../containers/container.ts';
import type { ContainerDeps } from '../../containers/deps.ts';
import type { HostFacts } from '../../containers/spec/host-facts.ts';
import type { ImageId } from '../../lib/ids.ts';
import { HangRecord } from '../../nri/hang-record.ts';
import { PluginSet } from '../../nri/plugin-set.ts';
import { startNri, type NriOptions } from '../../nri/start.ts';
import type { SandboxDeps } from '../../sandbox/deps.ts';
import type { SandboxStore } from '../../sandbox/sandbox.ts';
import type { Log } from '../../telemetry/log.ts';
import { applyChanges } from './apply-changes.ts';
import { ContainerPlugins } from './container-plugins.ts';
import { KnownSpecs } from './known-specs.ts';
import { noContainerPlugins, noPodPlugins } from './none.ts';
import { PodPlugins } from './pod-plugins.ts';
import { podView } from './views.ts';

export interface EnginePlugins {
  readonly forContainers: ContainerDeps['plugins'];
  readonly forPods: SandboxDeps['plugins'];
  /** Starts the installed plugins and listens for others. */
  start(options: StartOptions, stack: AsyncDisposableStack): Promise<void>;
}

type StartOptions = Omit<NriOptions, 'log' | 'plugins' | 'hangs' | 'existing' | 'apply'>;

interface EnginePluginsOptions {
  readonly isEnabled: boolean;
  readonly log: Log;
  readonly stateDirectory: string;
  readonly host: HostFacts;
  readonly stores: { readonly sandboxes: SandboxStore; readonly containers: ContainerStore };
  readonly imageDigest: (id: ImageId) => string | undefined;
  /** A function: the operations on containers need the plugins, which need those operations. */
  readonly containers: () => ContainerDeps;
}

export function createEnginePlugins(
  options: EnginePluginsOptions,
  stack: AsyncDisposableStack,
): EnginePlugins {
  if (!options.isEnabled)
    return { forContainers: noContainerPlugins, forPods: noPodPlugins, start: async () => undefined };
  const { log, stores, host, imageDigest } = options;
  const plugins = new PluginSet(log);
  const hangs = new HangRecord();
  const apply = async (changes: Parameters<typeof applyChanges>[2]) =>
    await applyChanges(options.containers(), log, changes);
  const pods = new PodPlugins(plugins);
  const containers = new ContainerPlugins({
    plugins,
    specs: new KnownSpecs(options.stateDirectory),
    host,
    sandboxOf: ({ sandboxId }) => stores.sandboxes.get(sandboxId),
    imageDigest,
    apply,
  });
  stack.use(pods.follow(stores.sandboxes));
  stack.use(containers.follow(stores.containers));
  const existing: NriOptions['existing'] = async () => {
    const sandboxes = pods.existing(stores.sandboxes);
    const views = containers.existing(stores.containers);
    return { pods: sandboxes.map(podView), containers: await views };
  };
  return {
    forContainers: containers.hooks,
    forPods: pods.hooks,
    start: async (startOptions, startStack) =>
      await startNri({ ...startOptions, log, plugins, hangs, existing, apply }, startStack),
  };
}
