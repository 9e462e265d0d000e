/** The RPCs on pod sandboxes. */
import { ListPodSandboxResponse, type PodSandboxFilter } from '../gen/runtime/v1/api.ts';
import { listContainers } from '../containers/list.ts';
import type { ContainerStore } from '../containers/container.ts';
import type { SandboxDeps } from '../sandbox/deps.ts';
import { listSandboxes, type SandboxFilter } from '../sandbox/list.ts';
import { removeSandbox } from '../sandbox/remove.ts';
import { runSandbox } from '../sandbox/run.ts';
import { sandboxPaths, type Sandbox } from '../sandbox/sandbox.ts';
import { stopSandbox } from '../sandbox/stop.ts';
import { updateSandboxResources } from '../sandbox/update-resources.ts';
import { listEncoder } from './encoded-lists.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { pages } from './pages.ts';
import { containerStatusToWire } from './translate/container-status.ts';
import { requiredText, textOf } from './translate/fields.ts';
import { podConfigFromWire } from './translate/pod-config.ts';
import { resourcesFromWire } from './translate/resources.ts';
import { sandboxStatusToWire, sandboxToWire } from './translate/sandbox-status.ts';
import { unixNowNs } from '../lib/clock.ts';

export interface SandboxHandlerDeps {
  readonly sandboxes: SandboxDeps;
  readonly containers: ContainerStore;
}

type SandboxHandlers = Pick<
  RuntimeHandlers,
  | 'runPodSandbox'
  | 'stopPodSandbox'
  | 'removePodSandbox'
  | 'podSandboxStatus'
  | 'listPodSandbox'
  | 'streamPodSandboxes'
  | 'updatePodSandboxResources'
>;

export function sandboxHandlers({ sandboxes: deps, containers }: SandboxHandlerDeps): SandboxHandlers {
  const list = (filter: PodSandboxFilter | undefined) => listSandboxes(deps.store, filterFromWire(filter));
  const encode = listEncoder((sandbox: Sandbox) =>
    ListPodSandboxResponse.encode({ items: [sandboxToWire(sandbox)] }).finish(),
  );
  return {
    async runPodSandbox({ config, runtimeHandler }, signal) {
      const { id } = await runSandbox(deps, { config: podConfigFromWire(config), runtimeHandler }, signal);
      return { podSandboxId: id };
    },
    async stopPodSandbox({ podSandboxId }, signal) {
      const sandbox = deps.store.find(requiredText(podSandboxId, 'pod_sandbox_id'));
      if (sandbox !== undefined) await stopSandbox(deps, sandbox.id, signal);
      return {};
    },
    async removePodSandbox({ podSandboxId }, signal) {
      const sandbox = deps.store.find(requiredText(podSandboxId, 'pod_sandbox_id'));
      if (sandbox !== undefined) await removeSandbox(deps, sandbox.id, signal);
      return {};
    },
    async podSandboxStatus({ podSandboxId, verbose }) {
      const sandbox = deps.store.mustFind(requiredText(podSandboxId, 'pod_sandbox_id'));
      const members = listContainers(containers, { sandboxId: sandbox.id, labels: {} });
      const containersStatuses = members.map(containerStatusToWire);
      const [first] = members.flatMap(({ state }) =>
        state.name === 'running' ? [state.processes.process.pid] : [],
      );
      return {
        status: sandboxStatusToWire(sandbox),
        info: verbose ? { info: JSON.stringify(verboseInfo(deps.stateDirectory, sandbox, first)) } : {},
        containersStatuses,
        timestamp: unixNowNs(),
      };
    },
    async listPodSandbox({ filter }) {
      return encode.all(list(filter));
    },
    // Its messages have the list in the same field.
    streamPodSandboxes: ({ filter }) => pages(list(filter), encode.one),
    async updatePodSandboxResources({ podSandboxId, overhead, resources }, signal) {
      const { id } = deps.store.mustFind(requiredText(podSandboxId, 'pod_sandbox_id'));
      const request = {
        overhead: overhead === undefined ? undefined : resourcesFromWire(overhead, 'overhead'),
        resources: resources === undefined ? undefined : resourcesFromWire(resources, 'resources'),
      };
      await updateSandboxResources(deps, id, request, signal);
      return {};
    },
  };
}

function filterFromWire(filter: PodSandboxFilter | undefined): SandboxFilter {
  if (filter === undefined) return { labels: {} };
  const state = filter.state === undefined ? undefined : filter.state.state === 0 ? 'ready' : 'not-ready';
  return { id: textOf(filter.id), state, labels: filter.labelSelector };
}

/** What tools read from `crictl inspectp`: there is no pause process, so the pid is the first container's. */
function verboseInfo(stateDirectory: string, sandbox: Sandbox, firstContainerPid: number | undefined) {
  const { state } = sandbox;
  const namespaces = state.name === 'ready' ? state.namespaces : {};
  const holder = state.name === 'ready' ? state.holder?.pid : undefined;
  return {
    pid: holder ?? firstContainerPid ?? 0,
    state,
    namespaces,
    netNamespaceClosed: state.name !== 'ready',
    runtimeHandler: sandbox.runtimeHandler,
    cgroup: sandbox.cgroup,
    directory: sandboxPaths(stateDirectory, sandbox.id).directory,
    overhead: sandbox.config.overhead,
    resources: sandbox.config.resources,
    config: sandbox.config,
  };
}
