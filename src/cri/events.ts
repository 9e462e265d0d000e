/** GetContainerEvents: what happens to containers and sandboxes, with the whole pod's status at that moment. */
import { ContainerEventType, type ContainerEventResponse } from '../gen/runtime/v1/api.ts';
import { containersOf, type ContainerStore } from '../containers/container.ts';
import { unixNowNs } from '../lib/clock.ts';
import type { SandboxId } from '../lib/ids.ts';
import type { Sandbox, SandboxStore } from '../sandbox/sandbox.ts';
import { EventQueue } from './event-queue.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { containerStatusToWire } from './translate/container-status.ts';
import { sandboxStatusToWire } from './translate/sandbox-status.ts';

const eventTypes = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
} as const;

export function eventHandlers(deps: {
  readonly sandboxes: SandboxStore;
  readonly containers: ContainerStore;
}): Pick<RuntimeHandlers, 'getContainerEvents'> {
  const response = (
    kind: keyof typeof eventTypes,
    id: string,
    { sandboxId, sandbox }: { readonly sandboxId: SandboxId; readonly sandbox: Sandbox | undefined },
  ): ContainerEventResponse => ({
    containerId: id,
    containerEventType: eventTypes[kind],
    createdAt: unixNowNs(),
    podSandboxStatus: sandbox === undefined ? undefined : sandboxStatusToWire(sandbox),
    containersStatuses: containersOf(deps.containers, sandboxId)
      .filter(({ state }) => state.name !== 'creating')
      .map(containerStatusToWire),
  });
  return {
    async *getContainerEvents(_request, signal) {
      const queue = new EventQueue<ContainerEventResponse>();
      using _containers = deps.containers.events.subscribe(({ kind, container: { id, sandboxId } }) =>
        queue.push(response(kind, id, { sandboxId, sandbox: deps.sandboxes.get(sandboxId) })),
      );
      // A pod that is gone is in no store any more: the event has its last state.
      using _sandboxes = deps.sandboxes.events.subscribe(({ kind, sandbox }) =>
        queue.push(response(kind, sandbox.id, { sandboxId: sandbox.id, sandbox })),
      );
      yield* queue.read(signal);
    },
  };
}
