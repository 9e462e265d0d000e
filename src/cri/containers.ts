/** The RPCs on containers, but for their streams and their stats. */
import { readFileSync } from 'node:fs';
import { ListContainersResponse, type ContainerFilter as WireFilter } from '../gen/runtime/v1/api.ts';
import { checkpointContainer } from '../containers/checkpoint.ts';
import { containerPaths, processesOf, type Container } from '../containers/container.ts';
import { createContainer } from '../containers/create.ts';
import type { ContainerDeps } from '../containers/deps.ts';
import { listContainers, type ContainerFilter } from '../containers/list.ts';
import { removeContainer } from '../containers/remove.ts';
import { reopenContainerLog } from '../containers/reopen-log.ts';
import { startContainer } from '../containers/start.ts';
import { stopContainer } from '../containers/stop.ts';
import { updateContainer } from '../containers/update.ts';
import { listEncoder } from './encoded-lists.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { pages } from './pages.ts';
import { containerConfigFromWire } from './translate/container-config.ts';
import { containerStatusToWire, containerToWire } from './translate/container-status.ts';
import { integer, member, required, requiredText, textOf } from './translate/fields.ts';
import { resourcesFromWire } from './translate/resources.ts';

type ContainerHandlers = Pick<
  RuntimeHandlers,
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'listContainers'
  | 'streamContainers'
  | 'containerStatus'
  | 'updateContainerResources'
  | 'reopenContainerLog'
  | 'checkpointContainer'
>;

const states = ['created', 'running', 'exited', 'unknown'] as const;

export function containerHandlers(deps: ContainerDeps): ContainerHandlers {
  const list = (filter: WireFilter | undefined) => listContainers(deps.store, filterFromWire(filter));
  const encode = listEncoder((container: Container) =>
    ListContainersResponse.encode({ containers: [containerToWire(container)] }).finish(),
  );
  const find = (id: string): Container => deps.store.mustFind(requiredText(id, 'container_id'));
  return {
    async createContainer({ podSandboxId, config }, signal) {
      const request = {
        sandboxId: requiredText(podSandboxId, 'pod_sandbox_id'),
        config: containerConfigFromWire(config),
      };
      const { id } = await createContainer(deps, request, signal);
      return { containerId: id };
    },
    async startContainer({ containerId }, signal) {
      await startContainer(deps, find(containerId).id, signal);
      return {};
    },
    async stopContainer({ containerId, timeout }, signal) {
      const container = deps.store.find(requiredText(containerId, 'container_id'));
      const timeoutMs = Math.max(0, integer(timeout, 'timeout')) * 1000;
      if (container !== undefined) await stopContainer(deps, container.id, timeoutMs, signal);
      return {};
    },
    async removeContainer({ containerId }, signal) {
      const container = deps.store.find(requiredText(containerId, 'container_id'));
      if (container !== undefined) await removeContainer(deps, container.id, signal);
      return {};
    },
    async listContainers({ filter }) {
      return encode.all(list(filter));
    },
    // Its messages have the list in the same field.
    streamContainers: ({ filter }) => pages(list(filter), encode.one),
    async containerStatus({ containerId, verbose }) {
      const container = find(containerId);
      return {
        status: containerStatusToWire(container),
        info: verbose ? { info: JSON.stringify(verboseInfo(deps.stateDirectory, container)) } : {},
      };
    },
    async updateContainerResources({ containerId, linux }, signal) {
      const request = resourcesFromWire(required(linux, 'linux'), 'linux');
      await updateContainer(deps, find(containerId).id, request, signal);
      return {};
    },
    async reopenContainerLog({ containerId }) {
      await reopenContainerLog(deps, find(containerId).id);
      return {};
    },
    async checkpointContainer({ containerId, location, timeout }, signal) {
      const { id } = find(containerId);
      const timeoutMs = Math.max(0, integer(timeout, 'timeout')) * 1000;
      const request = { id, location: requiredText(location, 'location'), timeoutMs };
      await checkpointContainer(deps, request, signal);
      return {};
    },
  };
}

function filterFromWire(filter: WireFilter | undefined): ContainerFilter {
  if (filter === undefined) return { labels: {} };
  return {
    id: textOf(filter.id),
    sandboxId: textOf(filter.podSandboxId),
    state: filter.state === undefined ? undefined : member(states, filter.state.state, 'filter.state'),
    labels: filter.labelSelector,
  };
}

/** What tools read from `crictl inspect`. */
function verboseInfo(stateDirectory: string, container: Container) {
  const { bundle } = containerPaths(stateDirectory, container.id);
  return {
    sandboxID: container.sandboxId,
    pid: processesOf(container)?.process.pid ?? 0,
    removing: false,
    snapshotKey: container.id,
    snapshotter: 'overlayfs',
    runtimeType: container.runtimeHandler,
    cgroupsPath: container.cgroupsPath,
    privileged: container.config.linux.security.privileged,
    config: container.config,
    runtimeSpec: readSpec(`${bundle}/config.json`),
  };
}

function readSpec(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // After a reboot the bundle of an exited container is gone: the rest of the status is still worth showing.
    return undefined;
  }
}
