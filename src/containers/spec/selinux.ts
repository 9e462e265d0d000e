import type { PodSecurity, SelinuxOptions } from '../../sandbox/pod-config.ts';
import type { ContainerSecurity } from '../container-config.ts';
import { invalidField } from './invalid-field.ts';

/** Label of the process, and of the files that the runtime mounts for it. */
export interface SelinuxLabels {
  readonly process: string;
  readonly mount: string;
}

const part = /^[A-Za-z0-9_.:,-]+$/;

/**
 * The labels of a container: its own options, else the pod's, filled up with the container policy's defaults. None where
 * SELinux is off and for privileged containers, which are not confined.
 *
 * @throws EngineError invalid-argument
 */
export function selinuxLabels(
  security: ContainerSecurity,
  pod: PodSecurity,
  isEnabled: boolean,
): SelinuxLabels | undefined {
  const options = security.selinux ?? pod.selinux ?? {};
  for (const [name, value] of Object.entries<string | undefined>({ ...options })) {
    if (value !== undefined && !part.test(value)) {
      throw invalidField(`selinux_options.${name}`, `${JSON.stringify(value)} cannot be part of a label`);
    }
  }
  return isEnabled && !security.privileged ? fillUp(options) : undefined;
}

function fillUp({
  user = 'system_u',
  role = 'system_r',
  type = 'container_t',
  level = 's0',
}: SelinuxOptions): SelinuxLabels {
  return {
    process: `${user}:${role}:${type}:${level}`,
    mount: `system_u:object_r:container_file_t:${level}`,
  };
}
