import { checkVariables } from '../environment.ts';
import type { EnvVar } from '../../container-config.ts';
import { changedList } from './entries.ts';
import type { ListChange } from './spec-adjustment.ts';

/** `NAME=value` lines after a change. @throws EngineError invalid-argument that names the variable */
export function adjustEnv(env: readonly string[], change: ListChange<EnvVar>): string[] {
  if (change.set.length === 0 && change.remove.length === 0) return [...env];
  checkVariables(change.set);
  return changedList(env, (line) => line.split('=', 1)[0] ?? '', {
    remove: change.remove,
    set: change.set.map(({ name, value }) => `${name}=${value}`),
  });
}
