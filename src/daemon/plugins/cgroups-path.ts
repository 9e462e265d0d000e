import { dirname } from 'node:path';
import { cleanPath, isAtOrBelow } from '../../containers/spec/clean-path.ts';
import { invalidField } from '../../containers/spec/invalid-field.ts';

const field = 'cgroups_path';

/**
 * The cgroup that a plugin wants for a container in place of `own`: below the pod's, whose limits hold, and with the
 * container's id as its last part, because all that is in it ends with the container.
 *
 * @throws EngineError invalid-argument
 */
export function checkedCgroupsPath(own: string, wanted: string, id: string): string {
  return own.startsWith('/') ? below(own, wanted, id) : scope(own, wanted, id);
}

function below(own: string, wanted: string, id: string): string {
  const path = cleanPath(wanted, field);
  const pod = dirname(own);
  if (!isAtOrBelow(path, pod))
    throw invalidField(field, `${JSON.stringify(path)} is not below the pod's ${pod}`);
  if (!path.endsWith(`/${id}`)) throw invalidField(field, `${JSON.stringify(path)} does not end with the id`);
  return path;
}

/** `slice:prefix:name` of systemd. */
function scope(own: string, wanted: string, id: string): string {
  const [slice] = own.split(':');
  const [wantedSlice, prefix = '', name] = wanted.split(':');
  if (wantedSlice !== slice || name !== id || !/^[\w.-]*$/.test(prefix))
    throw invalidField(field, `${JSON.stringify(wanted)} is not ${slice}:<prefix>:${id}`);
  return wanted;
}
