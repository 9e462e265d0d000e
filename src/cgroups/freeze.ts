import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { readKeyed, readText } from './files.ts';
import { controllerDirectory, type HostCgroups } from './host.ts';

/**
 * Stops or continues every process of a cgroup; returns when all have stopped. False when the cgroup is gone or the host cannot freeze.
 * @throws EngineError deadline-exceeded; the cgroup is then thawed again
 */
export async function freezeCgroup(
  host: HostCgroups,
  path: string,
  options: { readonly frozen: boolean; readonly timeoutMs: number },
): Promise<boolean> {
  const directory = controllerDirectory(host, 'freezer', path);
  if (directory === undefined || !setState(host, directory, options.frozen)) return false;
  const deadline = performance.now() + options.timeoutMs;
  while (isFrozen(host, directory) !== options.frozen) {
    if (readText(directory, 'cgroup.procs') === undefined) return false;
    if (performance.now() > deadline) {
      setState(host, directory, false);
      const message = `freeze cgroup ${path}: not all processes stopped within ${options.timeoutMs} ms`;
      throw new EngineError('deadline-exceeded', message);
    }
    await sleep(1);
    // v1 gives up on processes that were in the middle of a fork: asked again, it goes on.
    if (host.layout !== 'unified') setState(host, directory, options.frozen);
  }
  return true;
}

function setState(host: HostCgroups, directory: string, frozen: boolean): boolean {
  const [file, value] =
    host.layout === 'unified'
      ? ['cgroup.freeze', frozen ? '1' : '0']
      : ['freezer.state', frozen ? 'FROZEN' : 'THAWED'];
  try {
    writeFileSync(`${directory}/${file}`, value, { flag: 'r+' });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return false;
    throw error;
  }
}

function isFrozen(host: HostCgroups, directory: string): boolean {
  if (host.layout === 'unified') return readKeyed(directory, 'cgroup.events')?.get('frozen') === 1n;
  return readText(directory, 'freezer.state') === 'FROZEN';
}
