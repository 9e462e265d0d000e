/** Of each spec that critest skipped: what was lacking, and whose lack that is. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

export interface SkipReason {
  /** What could have run here counts against the engine. */
  readonly lackOf: 'host' | 'engine';
  readonly reason: string;
}

/** What an OCI runtime says about itself (`features`), as far as specs depend on it. */
interface RuntimeFeatures {
  readonly mountOptions?: readonly string[];
  readonly linux?: { readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } } };
}

/** Judges the message that a spec was skipped with. `runtime` is the program of the OCI runtime that was used. */
export function judgeSkip(message: string, runtime: string): SkipReason {
  if (message.includes('AppArmor is disabled') && !appArmorIsEnabled())
    return { lackOf: 'host', reason: 'the kernel runs without AppArmor' };
  if (/supports user namespaces/.test(message) && !canMapUsers(runtime))
    return { lackOf: 'host', reason: `${versionOf(runtime)} cannot map the IDs of mounts` };
  if (/recursive readonly mounts/.test(message) && !canMountRecursivelyReadOnly(runtime))
    return { lackOf: 'host', reason: `${versionOf(runtime)} knows no recursive read-only mounts` };
  if (/ID mapping is not supported/.test(message)) return { lackOf: 'host', reason: message };
  return { lackOf: 'engine', reason: message };
}

function appArmorIsEnabled(): boolean {
  const file = '/sys/module/apparmor/parameters/enabled';
  return existsSync(file) && readFileSync(file, 'utf8').startsWith('Y');
}

function canMapUsers(runtime: string): boolean {
  const features = featuresOf(runtime);
  // crun learned to tell its features later than to map IDs (1.6 and 1.8.2).
  return features === undefined
    ? /^crun version (1\.([6-9]|\d\d)|[2-9])/.test(versionOf(runtime))
    : features.linux?.mountExtensions?.idmap?.enabled === true;
}

function canMountRecursivelyReadOnly(runtime: string): boolean {
  const features = featuresOf(runtime);
  return features === undefined
    ? versionOf(runtime).startsWith('crun')
    : (features.mountOptions ?? []).includes('rro');
}

function featuresOf(runtime: string): RuntimeFeatures | undefined {
  const { status, stdout } = spawnSync(runtime, ['features'], { encoding: 'utf8' });
  return status === 0 ? (JSON.parse(stdout) as RuntimeFeatures) : undefined;
}

/** The first line of what an OCI runtime says about its version. */
export function versionOf(runtime: string): string {
  const { stdout } = spawnSync(runtime, ['--version'], { encoding: 'utf8' });
  return stdout.split('\n')[0] ?? runtime;
}
