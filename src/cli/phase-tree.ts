/** The phases of a request as a tree, as it is shown and printed. Pure. */
import type { Trace } from '../gen/gantry/v1/traces.ts';

export interface PhaseNode {
  readonly name: string;
  /** Since the start of the request. */
  readonly startMs: number;
  /** Until its own end, or until now or the request's end if it has none. */
  readonly durationMs: number;
  readonly hasEnded: boolean;
  readonly hasFailed: boolean;
  readonly phases: readonly PhaseNode[];
}

/** The phases that are directly in the request, each with those inside it, by their beginning. */
export function phaseTree(trace: Trace): readonly PhaseNode[] {
  const children = Map.groupBy(trace.phases.keys(), (index) => trace.phases[index]?.parent ?? -1);
  const nodesIn = (parent: number): PhaseNode[] =>
    (children.get(parent) ?? []).flatMap((index) => {
      const phase = trace.phases[index];
      // A phase begins after the one around it: what says otherwise would never end.
      if (phase === undefined || index <= parent) return [];
      const { name, startMs, durationMs = trace.durationMs - startMs, hasFailed } = phase;
      const hasEnded = phase.durationMs !== undefined;
      return [{ name, startMs, durationMs, hasEnded, hasFailed, phases: nodesIn(index) }];
    });
  return nodesIn(-1);
}

/** The time of a span in which none of `phases` was under way. */
export function timeOutside(durationMs: number, phases: readonly PhaseNode[], startMs = 0): number {
  let coveredUntil = startMs;
  let outsideMs = 0;
  for (const phase of phases.toSorted((one, other) => one.startMs - other.startMs)) {
    outsideMs += Math.max(0, phase.startMs - coveredUntil);
    coveredUntil = Math.max(coveredUntil, phase.startMs + phase.durationMs);
  }
  return outsideMs + Math.max(0, startMs + durationMs - coveredUntil);
}

/** A phase with the names of those around it, and the time that it took by itself. */
interface MainPhase {
  readonly path: string;
  readonly durationMs: number;
}

/** What says most in a few words: where the request failed, where it is now, or what took most of its time. */
export function mainPhase(trace: Trace): MainPhase | undefined {
  const tree = phaseTree(trace);
  const failed = trace.code === 'OK' ? undefined : innermost(tree, ({ hasFailed }) => hasFailed);
  const open = trace.code === 'OK' ? undefined : innermost(tree, ({ hasEnded }) => !hasEnded);
  return failed ?? open ?? longest(tree);
}

function innermost(
  nodes: readonly PhaseNode[],
  isMeant: (node: PhaseNode) => boolean,
  before = '',
): MainPhase | undefined {
  const node = nodes.find(isMeant);
  if (node === undefined) return undefined;
  const path = `${before}${node.name}`;
  return innermost(node.phases, isMeant, `${path}: `) ?? { path, durationMs: node.durationMs };
}

function longest(nodes: readonly PhaseNode[], before = ''): MainPhase | undefined {
  const all = nodes.flatMap((node) => {
    const path = `${before}${node.name}`;
    const own = { path, durationMs: timeOutside(node.durationMs, node.phases, node.startMs) };
    return [own, longest(node.phases, `${path}: `) ?? own];
  });
  return all.toSorted((one, other) => other.durationMs - one.durationMs)[0];
}
