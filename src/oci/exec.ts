import { startDirectExec } from './exec-direct.ts';
import { startMonitoredExec } from './exec-monitored.ts';
import type { ExecArgs, ExecSession } from './exec-session.ts';
import type { MonitorDeps } from './monitor.ts';

/**
 * Starts a process in a running container and returns at once: what goes wrong is told by `exit`. Without a terminal crun starts it by
 * itself; with one, and for other runtimes, conmon stands between (runc copies all output itself and waits for the last holder
 * of a pipe, which a process left behind never lets go).
 */
export function startExec(deps: MonitorDeps, args: ExecArgs): ExecSession {
  const canBeDirect = deps.runtime.kind === 'crun' && args.process.terminal !== true;
  const session = canBeDirect ? startDirectExec(deps, args) : startMonitoredExec(deps, args);
  // A caller that first waits for its client must not bring the daemon down.
  session.exit.catch(() => undefined);
  return session;
}
