/** A CRIU that works with this kernel, in the place where the engine and the runtimes find it. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const place = '/usr/sbin/criu';

/**
 * Why containers cannot be checkpointed here, or undefined. Debian's CRIU is older than some kernels: then a newer one, which
 * `GANTRY_CRIU` names, is laid over it, for this node alone.
 */
export function criuSkipReason(): string | undefined {
  if (!existsSync(place)) return 'CRIU is not installed (hack/install-packages test)';
  if (works(place)) return undefined;
  const other = process.env['GANTRY_CRIU'];
  if (other === undefined)
    return `Debian's CRIU does not work with this kernel, and GANTRY_CRIU names no other one`;
  if (process.env['GANTRY_TEST_HOST'] === undefined) return 'needs a node of its own';
  execFileSync('mount', ['--bind', other, place]);
  return works(place) ? undefined : `${other} does not work with this kernel`;
}

function works(program: string): boolean {
  try {
    execFileSync(program, ['check'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
