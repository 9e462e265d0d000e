/** A daemon that is expected to refuse its service. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const main = join(import.meta.dirname, '../../../src/main.ts');

export interface DaemonEnd {
  readonly exitCode: number | null;
  readonly stderr: string;
}

/** Starts `gantryd` with this configuration and waits for its end; one that runs is told to stop after a minute. */
export async function runDaemonToItsEnd(directory: string, toml: string): Promise<DaemonEnd> {
  const config = join(directory, 'second.toml');
  writeFileSync(config, toml);
  const child = spawn(process.execPath, [main, '--config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const timer = setTimeout(() => child.kill('SIGTERM'), 60_000);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  const exitCode = await promise.finally(() => clearTimeout(timer));
  return { exitCode, stderr };
}
