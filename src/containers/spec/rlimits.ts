import type { Rlimit } from '../../oci/spec-types.ts';
import type { HostFacts } from './host-facts.ts';
import type { SpecDefaults } from './spec-input.ts';

/** RLIMIT_NOFILE is always set: Node raises its own soft limit, and a container must not inherit that. */
export function buildRlimits({ openFiles }: SpecDefaults, host: HostFacts): Rlimit[] {
  const hard = Math.min(openFiles.hard, host.maxOpenFiles);
  return [{ type: 'RLIMIT_NOFILE', soft: Math.min(openFiles.soft, hard), hard }];
}
