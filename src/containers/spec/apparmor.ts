import { EngineError } from '../../lib/errors.ts';
import type { ContainerSecurity } from '../container-config.ts';
import { invalidField } from './invalid-field.ts';

/** The name under which the daemon loads the engine's own profile. */
export const defaultApparmorProfile = 'cri-gantry.apparmor.d';

/** What the kernel's AppArmor has. */
export interface ApparmorFacts {
  readonly enabled: boolean;
  readonly loaded: ReadonlySet<string>;
}

/**
 * The name of the profile that confines a container, or undefined for none. Asking for a profile that cannot be had is an
 * error: a container must not run with less protection than it was promised. Who asks for nothing gets the engine's own
 * profile where it is loaded.
 *
 * @throws EngineError failed-precondition when AppArmor is off or the profile is not loaded, invalid-argument
 */
export function apparmorProfile(security: ContainerSecurity, facts: ApparmorFacts): string | undefined {
  const wanted = security.apparmor;
  if (wanted?.type === 'unconfined') return undefined;
  if (!facts.enabled) {
    if (wanted === undefined) return undefined;
    throw new EngineError(
      'failed-precondition',
      'apparmor: a profile was asked for, but AppArmor is not enabled on this node',
    );
  }
  if (wanted?.type === 'localhost') return loadedProfile(wanted.ref.replace(/^localhost\//, ''), facts);
  if (security.privileged) return undefined;
  if (wanted === undefined && !facts.loaded.has(defaultApparmorProfile)) return undefined;
  return loadedProfile(defaultApparmorProfile, facts);
}

function loadedProfile(name: string, { loaded }: ApparmorFacts): string {
  if (name === '') throw invalidField('apparmor.localhost_ref', 'a localhost profile needs a name');
  if (!loaded.has(name)) {
    throw new EngineError(
      'failed-precondition',
      `apparmor: profile ${JSON.stringify(name)} is not loaded on this node`,
    );
  }
  return name;
}

/** Profile names in the kernel's list (`/sys/kernel/security/apparmor/profiles`, lines `name (mode)`). */
export function parseLoadedProfiles(text: string): Set<string> {
  const names = new Set<string>();
  for (const line of text.split('\n')) {
    const at = line.lastIndexOf(' (');
    if (at > 0) names.add(line.slice(0, at));
  }
  return names;
}
