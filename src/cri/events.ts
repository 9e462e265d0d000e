/** GetContainerEvents: what happens to containers and sandboxes, with the whole pod's status at that moment. */
import { ContainerEventType, type ContainerEventResponse } from '../gen/runtime/v1/api.ts';
import { containersOf, type ContainerStore } from '../containers/container.ts';
import type { SandboxId } from '../lib/ids.ts';
import type { SandboxStore } from '../sandbox/sandbox.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { containerStatusToWire } from './translate/container-status.ts';
import { sandboxStatusToWire } from './translate/sandbox-status.ts';

/** A client that does not read loses its stream, not the daemon its memory. */
const maxQueuedEvents = 10_000;

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
    sandboxId: SandboxId,
  ): ContainerEventResponse => {
    const sandbox = deps.sandboxes.get(sandboxId);
    return {
      containerId: id,
      containerEventType: eventTypes[kind],
      createdAt: BigInt(Date.now()) * 1_000_000n,
      podSandboxStatus: sandbox === undefined ? undefined : sandboxStatusToWire(sandbox),
      containersStatuses: containersOf(deps.containers, sandboxId)
        .filter(({ state }) => state.name !== 'creating')
        .map(containerStatusToWire),
    };
  };
  return {
    async *getContainerEvents(_request, signal) {
      const queue: ContainerEventResponse[] = [];
      let wake = (): void => undefined;
      const push = (event: ContainerEventResponse): void => {
        queue.push(event);
        wake();
      };
      signal.addEventListener('abort', () => wake(), { once: true });
      using _containers = deps.containers.events.subscribe(({ kind, container }) =>
        push(response(kind, container.id, container.sandboxId)),
      );
      using _sandboxes = deps.sandboxes.events.subscribe(({ kind, sandbox }) =>
        push(response(kind, sandbox.id, sandbox.id)),
      );
      while (!signal.aborted && queue.length < maxQueuedEvents) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}
