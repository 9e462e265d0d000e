/** The engine on a node without plugins. */
import type { ContainerDeps } from '../../containers/deps.ts';
import type { SandboxDeps } from '../../sandbox/deps.ts';

export const noContainerPlugins: ContainerDeps['plugins'] = {
  creating: async (draft) => draft,
  abandoned: () => undefined,
  starting: async () => undefined,
  updating: async (_container, resources) => resources,
  updated: () => undefined,
};

export const noPodPlugins: SandboxDeps['plugins'] = {
  running: async () => undefined,
  abandoned: () => undefined,
  stopping: async () => undefined,
  updating: async () => undefined,
  updated: () => undefined,
};
