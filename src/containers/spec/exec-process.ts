import type { ProcessSpec } from '../../oci/spec-types.ts';
import { checkArgs } from './process.ts';

/** A further process in a running container. */
export interface ExecRequest {
  readonly command: readonly string[];
  readonly tty: boolean;
}

/**
 * The process of an exec: as the container's own one in user, groups, capabilities (none inheritable: CVE-2022-24769), limits,
 * confinement, environment and directory, with another command.
 *
 * @param own the container's process, from its spec
 * @throws EngineError invalid-argument
 */
export function buildExecProcess(own: ProcessSpec, { command, tty }: ExecRequest): ProcessSpec {
  checkArgs(command);
  const { terminal: _, consoleSize: __, env = [], ...rest } = own;
  const hasTerm = env.some((line) => line.startsWith('TERM='));
  return {
    ...rest,
    ...(tty ? { terminal: true } : {}),
    args: [...command],
    env: tty && !hasTerm ? [...env, 'TERM=xterm'] : env,
  };
}
