import type { Container, ContainerStore } from './container.ts';

type ListedState = 'created' | 'running' | 'exited' | 'unknown';

/** Each field that is given must match; labels must all be there. */
export interface ContainerFilter {
  /** An id or a prefix of it. */
  readonly id?: string | undefined;
  readonly sandboxId?: string | undefined;
  readonly state?: ListedState | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

/** The containers that a face may show, oldest first. */
export function listContainers(store: ContainerStore, filter: ContainerFilter): Container[] {
  return store.listed().filter((container) => matches(container, filter));
}

function matches(container: Container, { id, sandboxId, state, labels }: ContainerFilter): boolean {
  if (id !== undefined && !container.id.startsWith(id)) return false;
  if (sandboxId !== undefined && !container.sandboxId.startsWith(sandboxId)) return false;
  if (state !== undefined && container.state.name !== state) return false;
  return Object.entries(labels).every(([key, value]) => container.config.labels[key] === value);
}
