import type { HostFacts } from './host-facts.ts';
import { invalidField } from './invalid-field.ts';

/**
 * The oom_score_adj of a process. Always set, or it would inherit the daemon's; raised to the lowest value that the daemon
 * may write where it lacks CAP_SYS_RESOURCE, because the runtime would fail otherwise.
 */
export function buildOomScoreAdj(wanted: number | undefined, host: HostFacts): number {
  checkOomScoreAdj(wanted);
  return Math.max(wanted ?? 0, host.minOomScoreAdj);
}

/** @throws EngineError invalid-argument for what the kernel does not know */
export function checkOomScoreAdj(value: number | undefined): void {
  if (value !== undefined && (!Number.isInteger(value) || value < -1000 || value > 1000))
    throw invalidField('oom_score_adj', `${value} is not between -1000 and 1000`);
}
