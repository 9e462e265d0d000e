/**
 * From a container as it was asked for to the document that the OCI runtime reads. Pure: files, devices, users and host facts
 * have been looked up before; the same input always gives the same spec. One file per concern beside this one.
 */
import type { LinuxResources as OciResources, Spec } from '../../oci/spec-types.ts';
import { buildAnnotations } from './annotations.ts';
import { cleanPath } from './clean-path.ts';
import { buildDevices } from './devices.ts';
import { invalidField } from './invalid-field.ts';
import { buildMounts } from './mounts.ts';
import { buildNamespaces } from './namespaces.ts';
import { buildPathProtection } from './paths.ts';
import { buildProcess } from './process.ts';
import { buildFirstResources } from './resources.ts';
import { buildSeccomp } from './seccomp.ts';
import { selinuxLabels } from './selinux.ts';
import type { SpecInput } from './spec-input.ts';

/**
 * Builds the spec of a container.
 *
 * @throws EngineError invalid-argument that names the field, failed-precondition when this node cannot give what was asked
 */
export function buildSpec(input: SpecInput): Spec {
  const { pod, container, cdi, sandbox, defaults } = input;
  const { security } = container.linux;
  if (security.privileged && !pod.security.privileged) {
    throw invalidField('privileged', 'the sandbox was not made for privileged containers');
  }
  const process = buildProcess(input);
  const { mounts, rootfsPropagation } = buildMounts(input);
  const hasHooks = cdi !== undefined && Object.keys(cdi.hooks).length > 0;
  return {
    ociVersion: '1.0.2',
    process,
    root: {
      path: cleanPath(input.rootfs, 'root filesystem'),
      ...(security.readonlyRootfs ? { readonly: true } : {}),
    },
    mounts,
    ...(hasHooks ? { hooks: cdi.hooks } : {}),
    annotations: buildAnnotations({
      sandboxId: sandbox.id,
      pod,
      container,
      passedOn: defaults.passedOnAnnotations,
    }),
    linux: {
      ...buildLinux(input, process.capabilities?.bounding ?? []),
      ...(rootfsPropagation === undefined ? {} : { rootfsPropagation }),
    },
  };
}

function buildLinux(input: SpecInput, capabilities: readonly string[]): Spec['linux'] {
  const { container, host, pod } = input;
  const { security } = container.linux;
  const { devices, rules } = buildDevices(input);
  const seccomp = buildSeccomp(security, host, capabilities, input.seccompProfile);
  const labels = selinuxLabels(security, pod.security, host.selinuxEnabled);
  const resources: OciResources = {
    devices: rules,
    ...buildFirstResources(container.linux.resources, host),
    ...(input.defaults.pidsLimit === undefined ? {} : { pids: { limit: input.defaults.pidsLimit } }),
  };
  return {
    ...buildNamespaces(input),
    cgroupsPath: input.cgroupsPath,
    resources,
    ...(devices.length === 0 ? {} : { devices }),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...buildPathProtection(security),
    ...(labels === undefined ? {} : { mountLabel: labels.mount }),
  };
}
