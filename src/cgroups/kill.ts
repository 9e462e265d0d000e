import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { freezeCgroup } from './freeze.ts';
import { controllerDirectory, type HostCgroups } from './host.ts';
import { listProcesses } from './tree.ts';

const freezeTimeoutMs = 500;

/**
 * Kills every process of a cgroup and below, and waits until it is empty. By cgroup.kill where the kernel has it (5.14); elsewhere frozen, so
 * that nothing can fork away, signalled, and thawed to die. Idempotent.
 * @throws EngineError deadline-exceeded with the pids that would not end (in an uninterruptible wait)
 */
export async function killCgroup(
  host: HostCgroups,
  path: string,
  options: { readonly timeoutMs: number },
): Promise<void> {
  const deadline = performance.now() + options.timeoutMs;
  if (!killAtOnce(host, path)) await killFrozen(host, path);
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const left = listProcesses(host, path);
    if (left.length === 0) return;
    if (performance.now() > deadline) {
      const message = `kill cgroup ${path}: processes ${left.join(', ')} did not end within ${options.timeoutMs} ms`;
      throw new EngineError('deadline-exceeded', message);
    }
    // Also what came in meanwhile: an exec that was just starting.
    for (const pid of left) signal(pid);
    await sleep(waitMs);
  }
}

function killAtOnce(host: HostCgroups, path: string): boolean {
  if (host.layout !== 'unified') return false;
  const directory = controllerDirectory(host, '', path);
  try {
    writeFileSync(`${directory}/cgroup.kill`, '1', { flag: 'r+' });
    return true;
  } catch (error) {
    // No such file before Linux 5.14, or the cgroup is gone: the other way finds out.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV' || errnoOf(error) === 'EOPNOTSUPP')
      return false;
    throw error;
  }
}

async function killFrozen(host: HostCgroups, path: string): Promise<void> {
  try {
    await freezeCgroup(host, path, { frozen: true, timeoutMs: freezeTimeoutMs });
  } catch (error) {
    if (!(error instanceof EngineError) || error.kind !== 'deadline-exceeded') throw error;
  }
  for (const pid of listProcesses(host, path)) signal(pid);
  // A frozen process on v1 does not die before it is thawed.
  await freezeCgroup(host, path, { frozen: false, timeoutMs: freezeTimeoutMs });
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
