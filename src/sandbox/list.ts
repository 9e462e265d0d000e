import type { Sandbox, SandboxStore } from './sandbox.ts';

/** Each field that is given must match; labels must all be there. */
export interface SandboxFilter {
  /** An id or a prefix of it. */
  readonly id?: string | undefined;
  readonly state?: 'ready' | 'not-ready' | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

/** The sandboxes that a face may show, oldest first. */
export function listSandboxes(store: SandboxStore, filter: SandboxFilter): Sandbox[] {
  return store.listed().filter((sandbox) => matches(sandbox, filter));
}

function matches(sandbox: Sandbox, { id, state, labels }: SandboxFilter): boolean {
  if (id !== undefined && !sandbox.id.startsWith(id)) return false;
  if (state !== undefined && (sandbox.state.name === 'ready') !== (state === 'ready')) return false;
  return Object.entries(labels).every(([key, value]) => sandbox.config.labels[key] === value);
}
