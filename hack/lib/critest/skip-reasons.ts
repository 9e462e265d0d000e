/** Of each spec that critest skipped: what was lacking, and whose lack that is. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const mapIds = join(import.meta.dirname, 'map-ids.ts');

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

/** Where engines keep what containers write. critest tries the folder that the engine names: its own word is no proof. */
const usualStorage = '/var/lib/gantry';

/** Judges the message that a spec was skipped with. `runtime` is the program of the OCI runtime that was used. */
export function judgeSkip(message: string, runtime: string, storage = usualStorage): SkipReason {
  if (message.includes('AppArmor is disabled') && !appArmorIsEnabled())
    return { lackOf: 'host', reason: 'the kernel runs without AppArmor' };
  if (/supports user namespaces/.test(message) && !canMapUsers(runtime))
    return { lackOf: 'host', reason: `${versionOf(runtime)} cannot map the IDs of mounts` };
  if (/recursive readonly mounts/.test(message) && !canMountRecursivelyReadOnly(runtime))
    return { lackOf: 'host', reason: `${versionOf(runtime)} knows no recursive read-only mounts` };
  if (/ID mapping is not supported/.test(message) && !canMapFiles(storage))
    return { lackOf: 'host', reason: `${message} (nor with ${storage})` };
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

/** Whether the kernel can map ids on the file system of this folder, or of /var/lib where there is none. */
function canMapFiles(folder: string): boolean {
  const place = existsSync(folder) ? folder : '/var/lib';
  const argv = [...process.execArgv, mapIds, place];
  return execFileSync(process.execPath, argv, { encoding: 'utf8' }).trim() === 'yes';
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
