/** Which system calls a container may make. */
import { EngineError } from '../../lib/errors.ts';
import type { Seccomp, SeccompArgument, SeccompRule } from '../../oci/spec-types.ts';
import type { ContainerSecurity } from '../container-config.ts';
import type { HostFacts, SeccompArchitecture } from './host-facts.ts';
import {
  allowedByArchitecture,
  allowedByCapability,
  allowedCalls,
  allowedSinceLinux48,
  allowedWithArguments,
  architectureAbis,
  namespaceFlags,
} from './seccomp-default-profile.ts';
import { isKernelAtLeast, parseSeccompProfile, type SeccompContext } from './seccomp-profile.ts';

/**
 * The filter of a container, or undefined for none: privileged, unconfined, or nothing asked for.
 *
 * @param profile the text of the localhost profile that the request names
 * @throws EngineError failed-precondition when the kernel has no seccomp, invalid-argument for a bad profile
 */
export function buildSeccomp(
  security: ContainerSecurity,
  host: HostFacts,
  capabilities: readonly string[],
  profile: string | undefined,
): Seccomp | undefined {
  const wanted = security.seccomp;
  if (security.privileged || wanted === undefined || wanted.type === 'unconfined') return undefined;
  if (!host.seccomp.enabled) {
    throw new EngineError(
      'failed-precondition',
      'seccomp: a profile was asked for, but the kernel has no seccomp filters',
    );
  }
  const context: SeccompContext = {
    architecture: host.seccomp.architecture,
    kernel: host.kernel,
    capabilities,
  };
  if (wanted.type === 'runtime-default') return defaultSeccomp(context);
  if (profile === undefined) {
    throw new EngineError(
      'failed-precondition',
      `seccomp: profile ${JSON.stringify(wanted.ref)} was not read`,
    );
  }
  return parseSeccompProfile(profile, wanted.ref, context);
}

/** The engine's own profile for an architecture, a kernel and a set of capabilities. */
export function defaultSeccomp({ architecture, kernel, capabilities }: SeccompContext): Seccomp {
  const names = new Set(allowedCalls);
  const add = (more: readonly string[] = []) => more.forEach((name) => names.add(name));
  if (isKernelAtLeast(kernel, 4, 8)) add(allowedSinceLinux48);
  add(allowedByArchitecture[architecture]);
  for (const capability of capabilities) add(allowedByCapability[capability]);
  const syscalls: SeccompRule[] = [
    { names: [...names].toSorted(), action: 'SCMP_ACT_ALLOW' },
    ...allowedWithArguments.map(({ call, argument }) => allow(call, argument)),
    ...(capabilities.includes('CAP_SYS_ADMIN') ? [] : withoutNewNamespaces(architecture)),
  ];
  return { defaultAction: 'SCMP_ACT_ERRNO', architectures: architectureAbis[architecture], syscalls };
}

function allow(call: string, argument: SeccompArgument): SeccompRule {
  return { names: [call], action: 'SCMP_ACT_ALLOW', args: [argument] };
}

/** The flags of clone3 lie in memory, where a filter cannot look: ENOSYS (38) makes the C library fall back to clone. */
function withoutNewNamespaces(architecture: SeccompArchitecture): SeccompRule[] {
  const index = architecture === 's390x' ? 1 : 0;
  return [
    allow('clone', { index, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }),
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
  ];
}
