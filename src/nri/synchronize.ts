import { Container, type ContainerUpdate, PodSandbox, SynchronizeRequest } from '../gen/nri/v1alpha1/api.ts';
import { EngineError } from '../lib/errors.ts';
import type { Plugin } from './plugin.ts';

/** What exists when a plugin joins. */
export interface Existing {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
}

/** What fits a ttrpc message, with room for what is around it. */
const maxChunkBytes = 3 * 1024 * 1024;

/**
 * Tells a plugin what exists, in as many messages as that takes, all within `timeoutMs`. Gives the updates it asks for.
 *
 * @throws what PluginConnection.call throws, EngineError failed-precondition when there is more than an old plugin can take
 */
export async function synchronize(
  plugin: Plugin,
  existing: Existing,
  timeoutMs: number,
): Promise<readonly ContainerUpdate[]> {
  const deadline = performance.now() + timeoutMs;
  const chunks = chunksOf(existing);
  let updates: readonly ContainerUpdate[] = [];
  for (const chunk of chunks) {
    const answer = await plugin.call('synchronize', chunk, Math.max(1, deadline - performance.now()));
    if (chunk.more && !answer.more)
      throw new EngineError('failed-precondition', 'it cannot be told of so many pods and containers');
    updates = answer.update;
  }
  return updates;
}

/** Pods first: a container is told of with or after its pod. */
export function chunksOf({ pods, containers }: Existing): SynchronizeRequest[] {
  const chunks = [SynchronizeRequest.fromPartial({})];
  let bytes = 0;
  const chunkFor = (size: number): SynchronizeRequest => {
    const last = chunks.at(-1);
    if (last !== undefined && (bytes === 0 || bytes + size <= maxChunkBytes)) {
      bytes += size;
      return last;
    }
    if (last !== undefined) last.more = true;
    const next = SynchronizeRequest.fromPartial({});
    chunks.push(next);
    bytes = size;
    return next;
  };
  for (const pod of pods) chunkFor(PodSandbox.encode(pod).finish().length).pods.push(pod);
  for (const container of containers)
    chunkFor(Container.encode(container).finish().length).containers.push(container);
  return chunks;
}
