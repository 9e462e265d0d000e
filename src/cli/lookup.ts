/** Asks the daemon what a name on the command line stands for. */
import type { Container, PodSandbox } from '../gen/runtime/v1/api.ts';
import type { Cri } from './client.ts';
import { containerTargets, findAnyTarget, findTarget, type Target } from './names.ts';

export interface Inventory {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
}

/** Everything that can be named. */
export async function readInventory({ runtime }: Pick<Cri, 'runtime'>): Promise<Inventory> {
  const [{ items }, { containers }] = await Promise.all([runtime.listPodSandbox(), runtime.listContainers()]);
  return { pods: items, containers };
}

/** The id of a container. @throws EngineError not-found, invalid-argument (ambiguous) */
export async function lookUpContainer(cri: Cri, text: string): Promise<string> {
  const { pods, containers } = await readInventory(cri);
  return findTarget('container', containerTargets(containers, pods), text).id;
}

/** A pod or a container. @throws EngineError not-found, invalid-argument (ambiguous) */
export function lookUpAny({ pods, containers }: Inventory, text: string): Target {
  return findAnyTarget(pods, containers, text);
}
