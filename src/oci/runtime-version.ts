/** Which runtime a program is. */
import { EngineError, messageOf } from '../lib/errors.ts';
import { runCommand } from '../linux/command.ts';
import type { OciRuntime } from './oci-runtime.ts';

/** Kind and version of a runtime's program. */
export interface RuntimeIdentity {
  readonly kind: OciRuntime['kind'];
  readonly version: string;
}

/** Reads the first line of `--version`: `crun version 1.8.1`, `runc version 1.1.5+ds1`, `runsc version release-...`. */
function parseVersion(output: string): RuntimeIdentity {
  const match = /^(\S+) version (\S+)/m.exec(output);
  const name = match?.[1];
  const kind = name === 'crun' || name === 'runc' ? name : 'other';
  return { kind, version: match?.[2] ?? 'unknown' };
}

/** @throws EngineError failed-precondition when the program is missing or does not answer */
export async function identifyRuntime(path: string): Promise<RuntimeIdentity> {
  try {
    const result = await runCommand([path, '--version'], { check: true, timeoutMs: 20_000 });
    return parseVersion(result.stdout.toString('utf8'));
  } catch (error) {
    throw new EngineError('failed-precondition', `runtime ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Whether a runtime turns cpu shares into cpu.weight on a straight line, so that writing limits into the files of its containers gives what
 * it would have given. crun 1.23 and runc 1.3.2 begin with a curve through both defaults (opencontainers/runc#4896, containers/crun#1767).
 */
export function hasLinearCpuWeight({ kind, version }: RuntimeIdentity): boolean {
  const numbers = leadingNumbers(version);
  return (
    (kind === 'crun' && !isAtLeast(numbers, [1, 23])) || (kind === 'runc' && !isAtLeast(numbers, [1, 3]))
  );
}

/** Whether a runtime binds a directory without what is mounted below it when it enters a user namespace: crun before 1.9 does. */
export function losesMountsBelow({ kind, version }: RuntimeIdentity): boolean {
  return kind === 'crun' && !isAtLeast(leadingNumbers(version), [1, 9]);
}

/** The leading numbers of a version text. */
function leadingNumbers(text: string): readonly [number, number] {
  const match = /^(\d+)\.(\d+)/.exec(text);
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
}

function isAtLeast(version: readonly [number, number], wanted: readonly [number, number]): boolean {
  return version[0] > wanted[0] || (version[0] === wanted[0] && version[1] >= wanted[1]);
}
