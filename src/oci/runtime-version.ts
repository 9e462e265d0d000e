/** Which runtime a program is, and what it can do. */
import { release } from 'node:os';
import { EngineError, messageOf } from '../lib/errors.ts';
import { runCommand } from '../linux/command.ts';
import type { OciRuntime } from './oci-runtime.ts';

/** Kind and version of a runtime's program. */
export interface RuntimeIdentity {
  readonly kind: OciRuntime['kind'];
  readonly version: string;
}

/** What pods may ask of a runtime on this kernel. */
export interface RuntimeFeatures {
  /** Mount option `rro`. */
  readonly recursiveReadOnlyMounts: boolean;
  readonly source: 'asked' | 'known by version';
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

/** Asks `features`; a runtime without it (crun before 1.8.2) is judged by its version. What the kernel cannot do does not count. */
export async function probeFeatures(
  runtime: RuntimeIdentity & { readonly path: string },
): Promise<RuntimeFeatures> {
  const kernel = leadingNumbers(release());
  const answer = await askFeatures(runtime.path);
  const features = answer === undefined ? featuresByVersion(runtime) : parseFeatures(answer);
  // It builds upon mount_setattr(2), which is there since Linux 5.12.
  const hasMountSetattr = isAtLeast(kernel, [5, 12]);
  return {
    recursiveReadOnlyMounts: features.recursiveReadOnlyMounts && hasMountSetattr,
    source: answer === undefined ? 'known by version' : 'asked',
  };
}

type Claims = Omit<RuntimeFeatures, 'source'>;

/** https://github.com/opencontainers/runtime-spec/blob/v1.2.0/features.md */
function parseFeatures(answer: Readonly<Record<string, unknown>>): Claims {
  const options = answer['mountOptions'];
  return { recursiveReadOnlyMounts: Array.isArray(options) && options.includes('rro') };
}

/** crun has `rro` since 1.4; runc answers `features` since 1.1, in which `rro` is new too. */
function featuresByVersion(runtime: RuntimeIdentity): Claims {
  const can = runtime.kind === 'crun' && isAtLeast(leadingNumbers(runtime.version), [1, 4]);
  return { recursiveReadOnlyMounts: can };
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

/** The leading numbers of a version text. */
function leadingNumbers(text: string): readonly [number, number] {
  const match = /^(\d+)\.(\d+)/.exec(text);
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
}

function isAtLeast(version: readonly [number, number], wanted: readonly [number, number]): boolean {
  return version[0] > wanted[0] || (version[0] === wanted[0] && version[1] >= wanted[1]);
}

async function askFeatures(path: string): Promise<Record<string, unknown> | undefined> {
  const result = await runCommand([path, 'features'], {
    timeoutMs: 20_000,
    maxOutputBytes: 1024 * 1024,
  }).catch(() => undefined);
  if (result?.exitCode !== 0) return undefined;
  try {
    const value: unknown = JSON.parse(result.stdout.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
