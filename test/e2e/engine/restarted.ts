/** What tests that start the daemon again need of the node's state. */
import { nodeState, type NodeState } from './leftovers.ts';

/** The state of a node with the daemon that runs now in place of the one that ran then. */
export function withDaemon(state: NodeState, pid: number): NodeState {
  const daemon = nodeState()['processes']?.filter((line) => line.startsWith(`${pid} `)) ?? [];
  return { ...state, processes: [...(state['processes'] ?? []), ...daemon] };
}
