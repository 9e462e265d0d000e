import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

export interface LoggedCommandOptions {
  /** What is there already stays. */
  readonly log: string;
  readonly directory?: string;
  /** Beside this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Runs a suite's program to its end, its output in a file. Returns its exit status, null after a signal. */
export async function runLogged(
  command: string,
  args: readonly string[],
  options: LoggedCommandOptions,
): Promise<number | null> {
  const output = openSync(options.log, 'a');
  const child = spawn(command, args, {
    stdio: ['ignore', output, output],
    env: { ...process.env, ...options.environment },
    ...(options.directory === undefined ? {} : { cwd: options.directory }),
  });
  closeSync(output);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  return await promise;
}
